"""Links to known hosts, from a scripted server that stands for all of them, under TLS and by their own names."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme

from ingest.download.fetch import Fetch, Fetched
from ingest.download.remote_file import RemoteFile
from ingest.download.resume import EarlierDownload
from ingest.http.cancellation import Cancellation
from ingest.http.guard import Guard
from ingest.settings import IngestSettings
from pipeline.errors import StageError
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.descriptions import V2, V3, WARNING, archive, presentation_3
from tests.support.network.sources import Behaviour, Exchange, SourceServer, serve

IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(1000)
HOSTS = (
    *("www.dropbox.com", "*.dl.dropboxusercontent.com", "drive.google.com", "docs.google.com"),
    *("drive.usercontent.google.com", "acme.sharepoint.com", "onedrive.live.com", "1drv.ms", "my.files.1drv.com"),
    *("commons.wikimedia.org", "upload.wikimedia.org", "github.com", "raw.githubusercontent.com"),
    *("archive.org", "ia800.us.archive.org", "www.flickr.com", "live.staticflickr.com", "iiif.test", "short.test"),
)


class Everywhere(Guard):
    """Leads each connection to one port of this machine, after the checks of the host that was asked for."""

    def __init__(self, port: int, addresses: dict[str, str]) -> None:
        super().__init__(Allowed(["127.0.0.1"]), lambda host, _: [ip_address(addresses.get(host, "127.0.0.1"))])
        self._port = port

    def connect(
        self, cancellation: Cancellation, host: str, port: int, timeout: float | None, options: Iterable[Any]
    ) -> socket.socket:
        self.screen(host, port, self._resolve(cancellation, host, port, timeout))
        return super().connect(cancellation, "127.0.0.1", self._port, timeout, options)


@dataclass
class World:
    """All hosts in one server. `says` has the answer for each URL."""

    server: SourceServer
    authority: Path
    says: dict[str, Behaviour] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    inside: dict[str, str] = field(default_factory=dict)
    fetched: Fetched = field(init=False)

    def answer(self, exchange: Exchange) -> None:
        url = f"https://{exchange.headers['Host']}{self.server.targets[-1]}"
        self.asked.append(url)
        self.says.get(url, answers.status(404))(exchange)

    def fetch(self, url: str, folder: Path, **options: Any) -> RemoteFile:
        settings = IngestSettings(source_ca_bundle=self.authority, source_read_timeout=20.0)
        fetch = Fetch(
            url,
            folder / "got",
            settings=settings,
            guard=Everywhere(self.server.port, self.inside),
            progress=lambda done, total: None,
            **options,
        )
        self.fetched = fetch.run()
        return fetch.remote_file


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, path


@pytest.fixture
def world(certificate: tuple[ssl.SSLContext, Path]) -> Iterator[World]:
    context, authority = certificate
    with serve(tls=context) as server:
        made = World(server, authority)
        server.answer_all = made.answer
        yield made


def page(text: str = "<p>Sign in</p>") -> Behaviour:
    return answers.page(f"<!DOCTYPE html><html><head></head><body>{text}</body></html>")


def as_json(value: object) -> Behaviour:
    return answers.whole(value if isinstance(value, bytes) else json.dumps(value).encode())


FILE = answers.ranges(IMAGE)
DRIVE = "https://drive.usercontent.google.com/download?id=1aB_c-D9&export=download"
RAW = "https://raw.githubusercontent.com/o/r/main"
WIKI = "https://commons.wikimedia.org/wiki/Special:Redirect/file"
OEMBED = "https://www.flickr.com/services/oembed/?format=json&url=https%3A%2F%2Fwww.flickr.com%2Fphotos%2Fnasa%2F1%2F"

CHAINS: dict[str, tuple[str, dict[str, Behaviour]]] = {
    "https://www.dropbox.com/scl/fi/k/x.png?rlkey=%2ba&dl=0": (
        "Dropbox",
        {
            "https://www.dropbox.com/scl/fi/k/x.png?rlkey=%2ba&dl=1": answers.redirect(
                "https://uc1.dl.dropboxusercontent.com/cd/%7Ex?dl=1"
            ),
            "https://uc1.dl.dropboxusercontent.com/cd/%7Ex?dl=1": FILE,
        },
    ),
    "https://drive.google.com/file/d/1aB_c-D9/view?usp=sharing": ("Google Drive", {f"{DRIVE}&confirm=t": FILE}),
    "https://drive.google.com/open?id=1aB_c-D9": (
        "Google Drive",
        {
            f"{DRIVE}&confirm=t": answers.page(WARNING.decode()),
            "https://drive.usercontent.google.com/download?id=1aB&export=download&confirm=t%26x&uuid=12-ab": FILE,
        },
    ),
    "https://acme.sharepoint.com/:i:/s/team/Eabc?e=4": (
        "SharePoint",
        {
            "https://acme.sharepoint.com/:i:/s/team/Eabc?e=4&download=1": answers.redirect("/sites/team/x.png"),
            "https://acme.sharepoint.com/sites/team/x.png": FILE,
        },
    ),
    "https://1drv.ms/i/s!Ab": (
        "OneDrive",
        {
            "https://1drv.ms/i/s!Ab": answers.redirect("https://onedrive.live.com/redir?resid=A%211&authkey=%21K"),
            "https://onedrive.live.com/download?resid=A!1&authkey=!K": answers.redirect(
                "https://my.files.1drv.com/y4m"
            ),
            "https://my.files.1drv.com/y4m": FILE,
        },
    ),
    "https://commons.wikimedia.org/wiki/File:Zürich_(1).png": (
        "Wikimedia Commons",
        {
            f"{WIKI}/Z%C3%BCrich_(1).png": answers.redirect("https://upload.wikimedia.org/Z%C3%BCrich_%281%29.png"),
            "https://upload.wikimedia.org/Z%C3%BCrich_%281%29.png": FILE,
        },
    ),
    "https://github.com/o/r/blob/main/a%20b.png": (
        "GitHub",
        {
            "https://github.com/o/r/raw/main/a%20b.png": answers.redirect(f"{RAW}/a%20b.png"),
            f"{RAW}/a%20b.png": FILE,
        },
    ),
    "https://archive.org/details/item-1": (
        "Internet Archive",
        {
            "https://archive.org/metadata/item-1": as_json(archive({"name": "a b.png"}, {"name": "item_meta.xml"})),
            "https://archive.org/download/item-1/a%20b.png": answers.redirect("https://ia800.us.archive.org/a%20b.png"),
            "https://ia800.us.archive.org/a%20b.png": FILE,
        },
    ),
    "https://www.flickr.com/photos/nasa/1/in/photostream/": (
        "Flickr",
        {
            OEMBED: as_json({"type": "photo", "url": "https://live.staticflickr.com/1/2_3_b.jpg"}),
            "https://live.staticflickr.com/1/2_3_b.jpg": FILE,
        },
    ),
    "https://iiif.test/i/a%2fb/info.json": (
        "IIIF",
        {
            "https://iiif.test/i/a%2fb/info.json": as_json(V3 | {"id": "https://iiif.test/i/a%2fb"}),
            "https://iiif.test/i/a%2fb/full/max/0/default.jpg": FILE,
        },
    ),
    "https://iiif.test/m": (
        "IIIF",
        {
            "https://iiif.test/m": as_json(presentation_3({"service": {"@id": "/i/2"}})),
            "https://iiif.test/i/2/info.json": as_json(V2 | {"@id": "https://iiif.test/i/2"}),
            "https://iiif.test/i/2/full/full/0/default.jpg": FILE,
        },
    ),
    "https://short.test/x": (
        "GitHub",
        {
            "https://short.test/x": answers.redirect("https://github.com/o/r/blob/main/x.png"),
            "https://github.com/o/r/raw/main/x.png": FILE,
        },
    ),
}


@pytest.mark.parametrize("pasted", CHAINS)
def test_a_link_to_a_known_host_brings_the_file(world: World, tmp_path: Path, pasted: str) -> None:
    # Given the hosts as they answer
    rule, world.says = CHAINS[pasted]
    # When the link is fetched as it is pasted, then the file is there, by no other requests
    remote_file = world.fetch(pasted, tmp_path)
    assert (tmp_path / "got").read_bytes() == IMAGE
    assert world.asked == list(world.says)
    # And what the link was rewritten to is told
    assert remote_file.link is not None
    assert remote_file.link.rule == rule
    assert remote_file.link.url in world.asked


def test_a_known_host_that_sends_a_page_says_what_to_check(world: World, tmp_path: Path) -> None:
    world.says = {f"{DRIVE}&confirm=t": page('<meta property="og:image" content="/a.png">')}
    with pytest.raises(StageError, match="sent a web page") as refusal:
        world.fetch("https://drive.google.com/file/d/1aB_c-D9/view", tmp_path)
    assert "Check that the Google Drive link is right, and that anybody may open the file." in refusal.value.message


def test_the_image_that_an_unknown_page_names_is_offered_and_not_fetched(world: World, tmp_path: Path) -> None:
    world.says = {"https://iiif.test/p/": page('<meta property="og:image" content="../a b.png">')}
    with pytest.raises(StageError) as refusal:
        world.fetch("https://iiif.test/p/", tmp_path)
    assert refusal.value.code == "not_an_image"
    assert refusal.value.message.endswith("submit its URL if you mean it: https://iiif.test/a%20b.png")
    assert world.asked == ["https://iiif.test/p/"]


def test_an_answer_may_not_lead_inside(world: World, tmp_path: Path) -> None:
    # Given answers that name addresses inside, by number and by name, at each step
    world.inside["archive.org"] = "10.0.0.1"
    for address in ("https://169.254.169.254", "https://[::ffff:10.0.0.1]", "https://0xa.1", "https://archive.org"):
        for says in (
            as_json(V3 | {"id": address}),
            as_json(presentation_3({"service": {"@id": address}})),
            as_json(presentation_3({"id": f"{address}/x.png"})),
        ):
            world.says = {"https://iiif.test/m": says}
            # When the link is fetched, then that is refused
            with pytest.raises(StageError) as refusal:
                world.fetch("https://iiif.test/m", tmp_path)
            assert refusal.value.code == "source_forbidden_address"
    # And a link that is rewritten to a host that leads inside is refused too
    with pytest.raises(StageError) as refusal:
        world.fetch("https://archive.org/details/item-1", tmp_path)
    assert refusal.value.code == "source_forbidden_address"
    assert {*world.asked} == {"https://iiif.test/m"}


def test_answers_that_name_each_other_come_to_an_end(world: World, tmp_path: Path) -> None:
    ring = as_json(presentation_3({"id": "https://iiif.test/m", "type": "Image"}))
    world.says = {"https://iiif.test/m": ring}
    with pytest.raises(StageError) as refusal:
        world.fetch("https://iiif.test/m", tmp_path)
    assert (refusal.value.code, refusal.value.retryable) == ("source_too_many_redirects", False)
    assert len(world.asked) == 4


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (as_json({"a": 1}), "sent text, not an image. Use the URL"),
        (as_json(b'{"@context": "http://iiif.io/api/image/3/context.json"' + b" " * (2 << 20)), "larger than 2.1 MB"),
        (as_json(b'{"@context": "http://iiif.io/api/image/3/context.json"'), "sent text, not an image. Use the URL"),
        (as_json(b'{"a": "' + b"x" * (70 << 10) + b'", "@context": "http://iiif.io/api/image/3"}'), "sent text"),
        (as_json(presentation_3()), "is not the manifest of one object"),
    ],
)
def test_json_that_names_no_image_is_text(world: World, tmp_path: Path, says: Behaviour, reason: str) -> None:
    world.says = {"https://iiif.test/m": says}
    with pytest.raises(StageError) as refusal:
        world.fetch("https://iiif.test/m", tmp_path)
    assert refusal.value.code == "not_an_image"
    assert reason in refusal.value.message


def test_an_item_with_several_images_lists_them(world: World, tmp_path: Path) -> None:
    world.says = {"https://archive.org/metadata/i": as_json(archive({"name": "1.tif"}, {"name": "2.tif"}))}
    with pytest.raises(StageError) as refusal:
        world.fetch("https://archive.org/details/i", tmp_path)
    assert "https://archive.org/download/i/1.tif, https://archive.org/download/i/2.tif" in refusal.value.message


def test_a_link_that_is_named_elsewhere_resumes_and_is_not_taken_as_known(world: World, tmp_path: Path) -> None:
    # Given an image behind an info.json, of which a part arrives and then nothing more
    data = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8000
    info, image = "https://iiif.test/i/1/info.json", "https://iiif.test/i/1/full/max/0/default.jpg"
    world.says = {
        info: answers.ranges(json.dumps(V3 | {"id": "https://iiif.test/i/1"}).encode(), '"info"'),
        image: answers.sequence(answers.breaking(data, 1_000_000), answers.status(503, {"Retry-After": "0"})),
    }
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    with pytest.raises(StageError, match="503"):
        world.fetch(info, first)
    # When another run goes on
    EarlierDownload.adopt(first, second, info)
    world.says[image] = answers.ranges(data)
    world.asked.clear()
    kept: list[int] = []
    world.fetch(info, second, kept=kept.append)
    # Then it asks again where the image is, and requests the rest of it only
    assert (second / "got").read_bytes() == data
    assert world.asked[:2] == [info, image]
    assert max(kept) == 1_000_000
    # And its validators are not kept for the info.json, which cannot answer for them
    assert not world.fetched.version
