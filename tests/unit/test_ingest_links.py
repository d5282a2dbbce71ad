"""The table of known hosts, and the small answers that name a file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.links import Answer, from_json, from_page, page_advice, rewritten
from ingest.links.documents import MOST_HTML
from pipeline.errors import StageError
from tests.support.network.descriptions import V1, V2, V3, WARNING, archive, presentation_2, presentation_3

DRIVE = "https://drive.usercontent.google.com/download?id=1aB_c-D9&export=download"

KNOWN = {
    # Dropbox
    "https://www.dropbox.com/s/abc/a%20b.tif?dl=0": "https://www.dropbox.com/s/abc/a%20b.tif?dl=1",
    "https://dropbox.com/s/abc/x.tif": "https://dropbox.com/s/abc/x.tif?dl=1",
    "https://www.dropbox.com/scl/fi/k/x.tif?rlkey=%2ba&e=1&st=z&dl=0": (
        "https://www.dropbox.com/scl/fi/k/x.tif?rlkey=%2ba&e=1&st=z&dl=1"
    ),
    "https://www.dropbox.com/scl/fo/k/h?rlkey=a&dl=0": "https://www.dropbox.com/scl/fo/k/h?rlkey=a&dl=1",
    # Google Drive
    "https://drive.google.com/file/d/1aB_c-D9/view?usp=sharing": f"{DRIVE}&confirm=t",
    "https://drive.google.com/file/d/1aB_c-D9/edit#x": f"{DRIVE}&confirm=t",
    "https://drive.google.com/file/d/1aB_c-D9": f"{DRIVE}&confirm=t",
    "https://drive.google.com/file/u/1/d/1aB_c-D9/preview": f"{DRIVE}&confirm=t",
    "http://drive.google.com/open?id=1aB_c-D9&authuser=0": f"{DRIVE}&confirm=t",
    "https://drive.google.com/uc?export=view&id=1aB_c-D9": f"{DRIVE}&confirm=t",
    "https://docs.google.com/uc?id=1aB_c-D9&export=download": f"{DRIVE}&confirm=t",
    "https://drive.google.com/file/d/1aB_c-D9/view?usp=sharing&resourcekey=0-x%2by": (
        f"{DRIVE}&resourcekey=0-x%2By&confirm=t"
    ),
    # Microsoft
    "https://acme.sharepoint.com/:i:/s/team/Eabc?e=4%3aX": "https://acme.sharepoint.com/:i:/s/team/Eabc?e=4%3aX&download=1",
    "https://acme-my.sharepoint.com/:u:/g/personal/me/Eabc?web=1": (
        "https://acme-my.sharepoint.com/:u:/g/personal/me/Eabc?download=1"
    ),
    "https://onedrive.live.com/redir?resid=AB%2112&authkey=%21AKx&e=1": (
        "https://onedrive.live.com/download?resid=AB!12&authkey=!AKx"
    ),
    "https://onedrive.live.com/?authkey=%21AKx&id=AB%2112&cid=AB&resid=AB%2112": (
        "https://onedrive.live.com/download?resid=AB!12&authkey=!AKx"
    ),
    "https://onedrive.live.com/embed?resid=AB%2112": "https://onedrive.live.com/download?resid=AB!12",
    # Wikimedia
    "https://commons.wikimedia.org/wiki/File:The_Blue_Marble.jpg": (
        "https://commons.wikimedia.org/wiki/Special:Redirect/file/The_Blue_Marble.jpg"
    ),
    "https://commons.wikimedia.org/wiki/File:Z%C3%BCrich_%22x%22?uselang=de#filelinks": (
        "https://commons.wikimedia.org/wiki/Special:Redirect/file/Z%C3%BCrich_%22x%22"
    ),
    "https://commons.wikimedia.org/wiki/File:Zürich (1).tif": (
        "https://commons.wikimedia.org/wiki/Special:Redirect/file/Z%C3%BCrich_(1).tif"
    ),
    "https://commons.m.wikimedia.org/wiki/File:A.jpg": "https://commons.wikimedia.org/wiki/Special:Redirect/file/A.jpg",
    "https://de.wikipedia.org/wiki/Datei:A.jpg": "https://de.wikipedia.org/wiki/Special:Redirect/file/A.jpg",
    "https://en.wikipedia.org/wiki/Moon#/media/File:Full_Moon.jpg": (
        "https://en.wikipedia.org/wiki/Special:Redirect/file/Full_Moon.jpg"
    ),
    "https://commons.wikimedia.org/w/index.php?title=File:A%26B.jpg&action=view": (
        "https://commons.wikimedia.org/wiki/Special:Redirect/file/A%26B.jpg"
    ),
    # Code
    "https://github.com/o/r/blob/main/a/b%20c.tif": "https://github.com/o/r/raw/main/a/b%20c.tif",
    "https://github.com/o/r/blob/v1.0/x.png?raw=true": "https://github.com/o/r/raw/v1.0/x.png",
    "https://gitlab.com/g/s/r/-/blob/main/x.tif?ref_type=heads": "https://gitlab.com/g/s/r/-/raw/main/x.tif",
    "https://codeberg.org/o/r/src/branch/main/x.tif": "https://codeberg.org/o/r/raw/branch/main/x.tif",
    "https://bitbucket.org/o/r/src/main/x.tif": "https://bitbucket.org/o/r/raw/main/x.tif",
    "https://huggingface.co/datasets/o/r/blob/main/x.tif": "https://huggingface.co/datasets/o/r/resolve/main/x.tif",
    "https://zenodo.org/records/12/preview/x.tif?include_deleted=0": "https://zenodo.org/records/12/files/x.tif",
    # Internet Archive
    "https://archive.org/details/item-1": "https://archive.org/metadata/item-1",
    "https://archive.org/details/item-1/": "https://archive.org/metadata/item-1",
    "https://archive.org/details/item-1/page/n5/mode/2up?view=theater": "https://archive.org/metadata/item-1",
    "https://www.archive.org/details/item-1/a/b%20c.tif": "https://archive.org/download/item-1/a/b%20c.tif",
    # Flickr
    "https://www.flickr.com/photos/nasa/123/in/album-7/": (
        "https://www.flickr.com/services/oembed/?format=json&url=https%3A%2F%2Fwww.flickr.com%2Fphotos%2Fnasa%2F123%2F"
    ),
    "https://m.flickr.com/photos/12@N00/123": (
        "https://www.flickr.com/services/oembed/?format=json&url=https%3A%2F%2Fwww.flickr.com%2Fphotos%2F12%40N00%2F123%2F"
    ),
}

OTHERS = [
    "https://example.org/a.tif",
    "https://dropbox.com.example.org/s/abc/x.tif?dl=0",
    "https://example.org/www.dropbox.com/s/abc/x.tif?dl=0",
    "https://xdropbox.com/s/abc/x.tif",
    "https://www.dropbox.com/s/abc/x.tif?raw=1",
    "https://dl.dropboxusercontent.com/s/abc/x.tif",
    "https://drive.google.com/drive/folders/1aB_c-D9",
    "https://drive.google.com/file/d/..%2f..%2fx/view",
    "https://drive.google.com/open?id=",
    "https://docs.google.com/document/d/1aB_c-D9/edit",
    "https://acme.sharepoint.com/sites/team/scan.tif",
    "https://onedrive.live.com/?id=root&cid=AB",
    "https://commons.wikimedia.org/wiki/Moon",
    "https://commons.wikimedia.org/wiki/Category:Moon",
    "https://upload.wikimedia.org/wikipedia/commons/a/a9/Example.jpg",
    "https://github.com/o/r/raw/main/x.tif",
    "https://github.com/o/r/releases/download/1/x.tif",
    "https://raw.githubusercontent.com/o/r/main/blob/x.tif",
    "https://archive.org/download/item-1/x.tif",
    "https://live.staticflickr.com/1/2_3_b.jpg",
    "https://www.flickr.com/photos/nasa/albums/7",
    "http://[::1",
    "",
]


@pytest.mark.parametrize(("pasted", "fetched"), KNOWN.items())
def test_a_known_link_becomes_the_files_address(pasted: str, fetched: str) -> None:
    link = rewritten(pasted)
    assert link is not None
    assert link.url == fetched
    # And its result stays as it is, so that redirects can be read by the same table
    assert rewritten(fetched) is None


@pytest.mark.parametrize("url", OTHERS)
def test_any_other_address_stays_as_it_is(url: str) -> None:
    assert rewritten(url) is None


MAX = "https://iiif.example/i/a%2fb/full/max/0/default.jpg"


@pytest.mark.parametrize(
    ("info", "address", "cap"),
    [
        (V3, MAX, ""),
        (V3 | {"maxWidth": 4000}, MAX, "4,000 x 3,000"),
        (V3 | {"maxWidth": 4000, "maxHeight": 1500}, MAX, "2,000 x 1,500"),
        (V3 | {"maxArea": 12_000_000}, MAX, "4,000 x 3,000"),
        (V3 | {"maxWidth": 9000}, MAX, ""),
        (V3 | {"maxWidth": -1, "maxArea": "x", "maxHeight": True}, MAX, ""),
        (V3 | {"id": None}, "https://here.example/i/9/full/max/0/default.jpg", ""),
        (V3 | {"id": "/other/7"}, "https://here.example/other/7/full/max/0/default.jpg", ""),
        (V3 | {"@context": ["x", V3["@context"]]}, MAX, ""),
        (V2, "https://iiif.example/i/1/full/full/0/default.jpg", ""),
        (
            V2 | {"profile": [*V2["profile"], {"maxWidth": 1000}]},
            "https://iiif.example/i/1/full/max/0/default.jpg",
            "1,000 x 750",
        ),
        (V1, "https://iiif.example/i/1/full/full/0/native.jpg", ""),
    ],
)
def test_an_info_json_leads_to_the_largest_single_image(info: dict[str, Any], address: str, cap: str) -> None:
    link = from_json(Answer.FILE, "https://here.example/i/9/info.json", json.dumps(info).encode())
    assert link is not None
    assert (link.rule, link.url) == ("IIIF", address)
    assert (cap in link.note) if cap else link.note == ""


IMAGE_3 = {"id": "https://i.example/a.jpg", "type": "Image", "service": [{"id": "https://i.example/a", "type": "X"}]}


@pytest.mark.parametrize(
    ("manifest", "address", "count"),
    [
        (presentation_2({"@id": "https://i.example/a"}), "https://i.example/a/info.json", 1),
        (presentation_2([{"@id": "https://i.example/a/"}], None, None), "https://i.example/a/info.json", 3),
        (presentation_2(None), "https://i.example/0.jpg", 1),
        (presentation_3(IMAGE_3), "https://i.example/a/info.json", 1),
        (presentation_3([IMAGE_3], IMAGE_3), "https://i.example/a/info.json", 2),
        (presentation_3({"type": "Choice", "items": [IMAGE_3, {}]}), "https://i.example/a/info.json", 1),
        (presentation_3({"id": "/x.jpg", "type": "Image"}), "https://here.example/x.jpg", 1),
    ],
)
def test_a_manifest_leads_to_its_first_image(manifest: dict[str, Any], address: str, count: int) -> None:
    link = from_json(Answer.FILE, "https://here.example/m/manifest.json", json.dumps(manifest).encode())
    assert link is not None
    assert link.url == address
    assert (f"1 of {count}" in link.note) == (count > 1)


def test_an_item_of_the_internet_archive_leads_to_its_one_image() -> None:
    url = "https://archive.org/metadata/item-1"
    files = (
        {"name": "a b/ü.tif"},
        {"name": "item_meta.xml"},
        {"name": "__ia_thumb.jpg"},
        {"name": "small.jpg", "source": "derivative"},
    )
    link = from_json(Answer.ARCHIVE, url, archive(*files))
    assert link is not None
    assert link.url == "https://archive.org/download/item-1/a%20b/%C3%BC.tif"
    # Several are listed, and none of them is chosen
    with pytest.raises(StageError) as several:
        from_json(Answer.ARCHIVE, url, archive(*({"name": f"{n}.tif"} for n in range(12))))
    assert several.value.code == "not_an_image"
    assert "has 12 images" in several.value.message
    assert "https://archive.org/download/item-1/9.tif, and 2 more" in several.value.message
    assert "/10.tif" not in several.value.message
    with pytest.raises(StageError, match="has no image"):
        from_json(Answer.ARCHIVE, url, b"{}")


def test_flickr_leads_to_its_photo_and_says_that_it_is_reduced() -> None:
    answer = {"type": "photo", "url": "https://live.staticflickr.com/1/2_3_b.jpg"}
    link = from_json(Answer.FLICKR, "https://www.flickr.com/services/oembed/", json.dumps(answer).encode())
    assert link is not None
    assert link.url == answer["url"]
    assert "1,024 pixels" in link.note
    with pytest.raises(StageError, match="shows no photo"):
        from_json(Answer.FLICKR, "https://www.flickr.com/services/oembed/", b'{"type": "video", "url": "x"}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"iiif.io/api/image"',
        b'{"a": 1}',
        b'{"@context": 7}',
        b'{"@context": "https://schema.org"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"a": ' + b"9" * 100_000 + b"}",
        b"\xff\xfe{",
        b'{"@context": "http://iiif.io/api/image/3/context.json", "id": "http://[", "x": "\xff"}',
    ],
)
def test_any_other_json_leads_nowhere(body: bytes) -> None:
    assert from_json(Answer.FILE, "https://here.example/a.json", body) is None


@pytest.mark.parametrize(
    "manifest",
    [
        presentation_3(),
        presentation_2(),
        presentation_3({}),
        presentation_3(7),
        presentation_3(IMAGE_3) | {"type": "Collection"},
        {"@context": "http://iiif.io/api/presentation/3/context.json", "items": {"items": "x"}},
        {"@context": "http://iiif.io/api/presentation/2/context.json", "sequences": [[[]]]},
    ],
)
def test_a_iiif_document_without_an_image_says_so(manifest: dict[str, Any]) -> None:
    with pytest.raises(StageError, match="IIIF") as refusal:
        from_json(Answer.FILE, "https://here.example/m", json.dumps(manifest).encode())
    assert refusal.value.code == "not_an_image"


@pytest.mark.parametrize(
    ("answer", "description"),
    [
        (Answer.FILE, V3 | {"id": "http://[::1/"}),
        (Answer.FILE, V3 | {"id": "javascript:alert(1)"}),
        (Answer.FILE, V3 | {"id": "https://iiif.example/\ud800"}),
        (Answer.FILE, presentation_3({"id": "http://[", "type": "Image"})),
        (Answer.FLICKR, {"type": "photo", "url": "http://["}),
        (Answer.FLICKR, {"type": "photo", "url": "https://live.staticflickr.com/\ud800"}),
        (Answer.ARCHIVE, {"files": [{"name": "\ud800.tif", "source": "original"}]}),
    ],
)
def test_a_description_with_a_malformed_address_says_so(answer: Answer, description: dict[str, Any]) -> None:
    with pytest.raises(StageError, match=r"here\.example names an image by a malformed address") as refusal:
        from_json(answer, "https://here.example/m", json.dumps(description).encode())
    assert refusal.value.code == "not_an_image"


def test_drives_warning_leads_to_the_file() -> None:
    link = from_page("https://drive.usercontent.google.com/download?id=1aB", WARNING)
    assert link is not None
    assert link.url == "https://drive.usercontent.google.com/download?id=1aB&export=download&confirm=t%26x&uuid=12-ab"
    # The older page has all in its action
    page = b'<form id="downloadForm" action="/uc?export=download&amp;confirm=t&amp;id=1aB" method="post"></form>'
    link = from_page("https://drive.google.com/uc?id=1aB", page)
    assert link is not None
    assert link.url == "https://drive.google.com/uc?export=download&confirm=t&id=1aB"
    # Nothing of this counts elsewhere, nor does a form that leads elsewhere
    assert from_page("https://example.org/download?id=1aB", WARNING) is None
    assert from_page("https://drive.google.com/uc?id=1aB", page.replace(b'"/uc', b'"https://evil.example/uc')) is None
    assert from_page("https://drive.google.com/uc?id=1aB", page.replace(b'"/uc', b'"http://[/uc')) is None
    assert from_page("https://drive.google.com/uc?id=1aB", b"<p>Quota exceeded</p>") is None


@pytest.mark.parametrize(
    ("html", "image"),
    [
        ('<meta property="og:image" content="https://i.example/a.jpg">', "https://i.example/a.jpg"),
        ("<META content='/a b.jpg?x=1&amp;y=2' Property='OG:image'/>", "https://here.example/a%20b.jpg?x=1&y=2"),
        ("<meta name=og:image content=//i.example/a.jpg>", "https://i.example/a.jpg"),
        ('<meta\nproperty="og:image:secure_url"\ncontent="https://i.example/é.jpg">', "https://i.example/%C3%A9.jpg"),
        (
            '<meta property="og:title" content="x"><meta property="og:image" content="../i.png">',
            "https://here.example/i.png",
        ),
        (
            '<meta property="og:image" content="javascript:x"><meta property="og:image" content="b.jpg">',
            "https://here.example/p/b.jpg",
        ),
        ('<meta property="og:image" content="http://user:pw@i.example/">', ""),
        ('<meta property="og:image" content=" ">', ""),
        ('<meta property="og:image" content="/' + "a" * 3000 + '">', ""),
        ('<meta property="twitter:image" content="/a.jpg">', ""),
        ("<title>og:image</title>", ""),
        ("", ""),
    ],
)
def test_the_image_that_a_page_names_is_offered(html: str, image: str) -> None:
    advice = page_advice("https://here.example/p/page", html.encode())
    assert advice.startswith("Use the URL of the image file")
    assert advice.endswith(f": {image}") if image else "names this image" not in advice


@pytest.mark.parametrize(
    "page",
    [
        b"<meta " * 50_000,
        b"<meta " + b"a" * MOST_HTML,
        b"<meta " + b"a=" * 100_000,
        b'<meta a="' * 30_000,
        b"<meta " + b" " * MOST_HTML,
        b"<" * MOST_HTML,
        b"<meta " + b"=\"'" * 80_000,
    ],
)
def test_a_hostile_page_costs_little(page: bytes) -> None:
    # By work, not by time: the one expression sees at most 4,096 characters of a tag, and each tag once.
    assert "names this image" not in page_advice("https://here.example/", page[: 2 * MOST_HTML])


CAPPED_2 = V2 | {"profile": ["http://iiif.io/api/image/2/level2.json", {"maxArea": 4_000_000}]}
CAPPED_3 = V3 | {"profile": "level2", "maxWidth": 2000}
LISTED = {"tiles": [{"width": 512, "scaleFactors": [1, 2]}, {"width": 1024, "height": 256, "scaleFactors": [4, 1]}]}
TILED: list[tuple[dict[str, Any], str]] = [
    (CAPPED_3 | LISTED, "https://iiif.example/i/a%2fb/0,0,512,512/512,512/0/default.jpg"),
    (CAPPED_2 | LISTED, "https://iiif.example/i/1/0,0,512,512/512,/0/default.jpg"),
    (V3 | LISTED | {"profile": "level0"}, "https://iiif.example/i/a%2fb/0,0,512,512/512,512/0/default.jpg"),
    (
        V2 | LISTED | {"profile": "http://iiif.io/api/image/2/level1.json"},
        "https://iiif.example/i/1/0,0,512,512/512,/0/default.jpg",
    ),
    # The largest that are not reduced and that the server sends
    (
        CAPPED_3 | {"tiles": [{"width": 256, "scaleFactors": [1]}, {"width": 3000, "scaleFactors": [1]}]},
        "/0,0,256,256/256,256/",
    ),
    (
        CAPPED_3 | {"tiles": [{"width": 256, "scaleFactors": [1]}, {"width": 999, "scaleFactors": [2]}]},
        "/0,0,256,256/256,256/",
    ),
]
WRONG_LISTS: list[Any] = [None, {}, [], [None], ["x"], [{"width": 256}], [{"scaleFactors": [1]}]]
UNTILED: list[dict[str, Any]] = [
    V3 | LISTED | {"profile": "level2"},
    V1 | LISTED | {"profile": "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level0"},
    CAPPED_3,
    *(CAPPED_3 | {"tiles": wrong} for wrong in WRONG_LISTS),
    *(
        CAPPED_3 | {"tiles": [{"width": width, "scaleFactors": factors}]}
        for width, factors in ((256, 1), (256, ["1"]), (0, [1]), (-1, [1]), (True, [1]), ("256", [1]), (1 << 40, [1]))
    ),
    # Larger than any tile that is decoded, larger than the cap, and more than are joined
    V3 | {"profile": "level0", "width": 90_000, "tiles": [{"width": 5000, "scaleFactors": [1]}]},
    CAPPED_3 | {"tiles": [{"width": 2001, "scaleFactors": [1]}]},
    CAPPED_3 | {"tiles": [{"width": 1, "scaleFactors": [1]}]},
]


@pytest.mark.parametrize(("info", "address"), TILED)
def test_an_info_json_that_caps_the_image_leads_to_its_tiles(info: dict[str, Any], address: str) -> None:
    link = from_json(Answer.FILE, "https://here.example/i/9/info.json", json.dumps(info).encode(), 10_000)
    assert link is not None
    assert link.tiling is not None
    assert address in link.url
    assert f"It is joined from {link.tiling.tiles.total:,} tiles, to 8,000 x 6,000 pixels." == link.note
    # And the last one ends where the image ends
    last = link.tiling.tiles.place(link.tiling.tiles.total - 1)
    assert (last.x + last.width, last.y + last.height) == (8000, 6000)


@pytest.mark.parametrize("info", UNTILED)
def test_other_descriptions_lead_to_one_image(info: dict[str, Any]) -> None:
    link = from_json(Answer.FILE, "https://here.example/i/9/info.json", json.dumps(info).encode(), 10_000)
    assert link is not None
    assert link.tiling is None
    assert "/full/" in link.url
