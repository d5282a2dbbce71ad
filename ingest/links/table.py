"""Known hosts whose links lead to a page about a file, and the address of the file itself.

`ROWS` is the table. A row matches hosts exactly and a path by its pattern. Applying the table to its own result changes
nothing. docs/sources.md lists the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qs, quote, unquote

from ingest.links.tilings import Tiling
from pipeline.urls import Url, parse


class Answer(Enum):
    """What the server sends for the address that a row leads to."""

    FILE = "file"
    FLICKR = "Flickr's oEmbed"
    ARCHIVE = "the Internet Archive's metadata"


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was rewritten.

    Parameters
    ----------
    rule: what recognised the link, such as "Dropbox".
    url: the address to fetch instead.
    note: a sentence for people about what the address leaves out; "" if nothing.
    answer: what to expect there.
    tiling: the tiles to fetch, of which `url` is the first; None for one file.
    """

    rule: str
    url: str
    note: str = ""
    answer: Answer = Answer.FILE
    tiling: Tiling | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Parameters
    ----------
    rule: name of the host or service.
    hosts: matches the whole host.
    path: matches the whole path, percent-encoded.
    to: returns the address for a URL and the match of its path; None if the row does not apply.
    answer: what to expect there.
    """

    rule: str
    hosts: re.Pattern[str]
    path: re.Pattern[str]
    to: Callable[[Url, re.Match[str]], str | None]
    answer: Answer = Answer.FILE


def rewritten(href: str) -> Link | None:
    """Return what the table makes of a URL; None if no row applies or the URL stays the same.

    A malformed URL stays as it is, and is refused when it is requested.
    """
    try:
        url = parse(href)
    except ValueError:
        return None
    for row in ROWS:
        found = row.path.fullmatch(url.path) if row.hosts.fullmatch(url.host) else None
        address = row.to(url, found) if found else None
        if address is not None:
            to = parse(address).href
            return Link(row.rule, to, answer=row.answer) if to != url.href else None
    return None


def _with_query(url: Url, name: str, value: str, *, without: tuple[str, ...] = ()) -> str:
    """Return a URL with a query parameter set. All others keep their order and their bytes."""
    gone = (name, *without)
    kept = [part for part in url.query.split("&") if part and part.partition("=")[0] not in gone]
    return f"{url.href.partition('?')[0]}?{'&'.join([*kept, f'{name}={value}'])}"


def _field(url: Url, *names: str) -> str:
    """Return the first of these query parameters that the URL has, decoded; "" if it has none."""
    fields = parse_qs(url.query)
    return next((fields[name][0] for name in names if fields.get(name)), "")


def _dropbox(url: Url, _: re.Match[str]) -> str | None:
    return None if _field(url, "dl") == "1" or _field(url, "raw") == "1" else _with_query(url, "dl", "1")


def _drive(url: Url, found: re.Match[str]) -> str | None:
    file_id = found.groupdict().get("id") or _field(url, "id")
    if not re.fullmatch(r"[\w-]{5,200}", file_id, re.ASCII):
        return None
    key = quote(_field(url, "resourcekey"), safe="")
    return (
        f"https://drive.usercontent.google.com/download?id={file_id}&export=download"
        f"{f'&resourcekey={key}' if key else ''}&confirm=t"
    )


def _sharepoint(url: Url, _: re.Match[str]) -> str | None:
    return None if _field(url, "download") == "1" else _with_query(url, "download", "1", without=("web",))


def _onedrive(url: Url, _: re.Match[str]) -> str | None:
    item = _field(url, "resid", "id")
    if "!" not in item:
        return None
    key = _field(url, "authkey")
    return f"https://onedrive.live.com/download?resid={quote(item, safe='!')}" + (
        f"&authkey={quote(key, safe='!')}" if key else ""
    )


_FILE_PAGE = re.compile(
    r"(?:File|Image|Datei|Bild|Fichier|Archivo|Immagine|Bestand|Ficheiro|Plik|Fil|Файл|ファイル|文件):(.+)",
    re.IGNORECASE | re.DOTALL,
)
"""The title of a page about a file, in the languages of the largest Wikipedias."""


def _commons(url: Url, found: re.Match[str]) -> str | None:
    media = re.fullmatch(r"/media/(.+)", url.fragment)  # the viewer that opens over an article
    titles = (media[1] if media else "", found.groupdict().get("title") or "", quote(_field(url, "title"), safe=""))
    for title in titles:
        page = _FILE_PAGE.fullmatch(unquote(title))
        if page:
            name = quote(page[1].replace(" ", "_"), safe="!$'()*,;:@")
            host = re.sub(r"\.m\.", ".", url.host)
            return f"https://{host}/wiki/Special:Redirect/file/{name}"
    return None


def _raw(name: str) -> Callable[[Url, re.Match[str]], str]:
    """Return what replaces the word between `head` and `tail` of a path, and drops the query, which is the page's."""
    return lambda url, found: f"{url.origin}{found['head']}/{name}/{found['tail']}"


def _archive_file(_: Url, found: re.Match[str]) -> str | None:
    # "page/n5/mode/2up" is a place in the book reader, not a file.
    is_place = re.match(r"(?:page|mode)(?:/|$)", found["file"])
    return None if is_place else f"https://archive.org/download/{found['item']}/{found['file']}"


def _archive_item(_: Url, found: re.Match[str]) -> str:
    return f"https://archive.org/metadata/{found['item']}"


def _flickr(_: Url, found: re.Match[str]) -> str:
    page = f"https://www.flickr.com/photos/{found['user']}/{found['photo']}/"
    return f"https://www.flickr.com/services/oembed/?format=json&url={quote(page, safe='')}"


def _row(
    rule: str, hosts: str, path: str, to: Callable[[Url, re.Match[str]], str | None], answer: Answer = Answer.FILE
) -> Row:
    return Row(rule, re.compile(hosts), re.compile(path), to, answer)


_WIKIS = r"[a-z0-9-]+(?:\.m)?\.(?:wikimedia|wikipedia|wikisource|wikibooks|wikivoyage|wikinews|wiktionary)\.org"

_ARCHIVE = r"(?:www\.)?archive\.org"

ROWS: tuple[Row, ...] = (
    _row("Dropbox", r"(?:www\.)?dropbox\.com", r"/(?:s|sh|scl/f[io])/.+", _dropbox),
    _row("Google Drive", r"drive\.google\.com", r"/file/(?:u/\d+/)?d/(?P<id>[^/]+)(?:/.*)?", _drive),
    _row("Google Drive", r"(?:drive|docs)\.google\.com", r"/(?:u/\d+/)?(?:open|uc)", _drive),
    _row("SharePoint", r"[a-z0-9-]+\.sharepoint\.com", r"/:[a-z]:/.+", _sharepoint),
    _row("OneDrive", r"onedrive\.live\.com", r"/(?:redir|embed|view\.aspx|edit\.aspx)?", _onedrive),
    _row("Wikimedia Commons", _WIKIS, r"/wiki/(?P<title>.+)|/w/index\.php", _commons),
    _row("GitHub", r"(?:www\.)?github\.com", r"(?P<head>/[^/]+/[^/]+)/blob/(?P<tail>.+)", _raw("raw")),
    _row("GitLab", r"gitlab\.com", r"(?P<head>/.+/-)/blob/(?P<tail>.+)", _raw("raw")),
    _row("Codeberg", r"codeberg\.org", r"(?P<head>/[^/]+/[^/]+)/src/(?P<tail>.+)", _raw("raw")),
    _row("Bitbucket", r"bitbucket\.org", r"(?P<head>/[^/]+/[^/]+)/src/(?P<tail>.+)", _raw("raw")),
    _row("Hugging Face", r"huggingface\.co", r"(?P<head>/.+)/blob/(?P<tail>.+)", _raw("resolve")),
    _row("Zenodo", r"zenodo\.org", r"(?P<head>/records/\d+)/preview/(?P<tail>.+)", _raw("files")),
    _row("Internet Archive", _ARCHIVE, r"/details/(?P<item>[^/]+)/(?P<file>.*[^/])/?", _archive_file),
    _row("Internet Archive", _ARCHIVE, r"/details/(?P<item>[^/]+)(?:/.*)?", _archive_item, Answer.ARCHIVE),
    _row(
        "Flickr",
        r"(?:www\.|m\.)?flickr\.com",
        r"/photos/(?P<user>[^/]+)/(?P<photo>\d+)(?:/.*)?",
        _flickr,
        Answer.FLICKR,
    ),
)
