"""The pages that people read are true: what they name is there, and what they show has the contract's shape."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel, ValidationError

from gateway.api import health, inspection_schemas, own_text_schemas, refresh_schemas, request_schemas, schemas
from gateway.http import problem_schemas
from gateway.http.problems import STATUS_OF_CODE
from protos.tilewright.status.v1 import status_pb2 as pb
from tilewright.commands import cli
from tilewright.commands.reference import SERVICES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
API = ROOT / "docs/api.md"

"""An address for a statussvc that is never asked."""

ANSWERS: tuple[type[BaseModel], ...] = (
    schemas.Created,
    schemas.Dataset,
    schemas.Page,
    schemas.Working,
    schemas.Ready,
    schemas.Failed,
    refresh_schemas.Versions,
    health.Alive,
    health.Readiness,
    problem_schemas.Problem,
    inspection_schemas.InspectionCreated,
    inspection_schemas.Inspection,
)

BODIES: tuple[type[BaseModel], ...] = (
    request_schemas.NewDataset,
    request_schemas.DatasetChange,
    schemas.TileInfo,
    refresh_schemas.Refresh,
    refresh_schemas.RefreshError,
    refresh_schemas.Version,
    refresh_schemas.VersionSource,
    schemas.Error,
    schemas.TileUrls,
    schemas.Urls,
    own_text_schemas.Statement,
    problem_schemas.FieldProblem,
    schemas.SourceInfo,
    inspection_schemas.NewInspection,
    inspection_schemas.Report,
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> Iterator[str]:
    """Each span of code, and each line of the blocks; a line that ends in a backslash goes on in the next."""
    text = page.read_text(encoding="utf-8")
    yield from SPAN.findall(prose(page))
    for _, block in FENCE.findall(text):
        yield from block.replace("\\\n", " ").splitlines()


def links(page: Path) -> Iterator[tuple[str, str, str]]:
    """Text, path and anchor of each link that stays in the repository."""
    for text, target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield text, path, anchor


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings as GitHub spells them, and the anchors set by hand."""
    found: Counter[str] = Counter()
    names = set(re.findall(r'<a id="([^"]+)">', page.read_text(encoding="utf-8")))
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", LINK.sub(r"\1", heading).lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return names


def declares(source: str, name: str) -> bool:
    """Whether a file of Python, JavaScript or protobuf declares a name."""
    keyword = rf"\b(?:class|def|function|const|rpc|message) {re.escape(name)}\b"
    return re.search(rf"{keyword}|^{re.escape(name)}\b[^=\n]*=", source, re.MULTILINE) is not None


@each_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    # Given a page, when one follows its links
    broken = []
    for _, path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    # Then each arrives
    assert broken == []


@each_page
def test_a_name_that_links_to_a_file_is_declared_in_it(page: Path) -> None:
    # Given links such as [`run_stage`](../pipeline/run.py), when one looks for the name in the file
    missing = []
    for text, path, _ in links(page):
        name = re.fullmatch(r"`([\w.]+)`", text)
        if name is None or Path(path).suffix not in {".py", ".js", ".proto"}:
            continue
        source = (page.parent / path).read_text(encoding="utf-8")
        missing += [f"{part} in {path}" for part in name[1].split(".") if not declares(source, part)]
    # Then it is there
    assert missing == []


@each_page
def test_every_make_target_that_is_named_is_in_the_makefile(page: Path) -> None:
    # Given the Makefile's targets
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    # When a page says `make something`, then that is one of them
    named = {found[1] for line in code(page) if (found := re.match(r"make ([a-z][\w-]*)", line))}
    assert named <= targets


@each_page
def test_every_path_in_backticks_is_there(page: Path) -> None:
    # Given spans whose first part is one of the repository's own folders, when one looks for them
    words = [span.split()[0] for span in SPAN.findall(prose(page)) if span.strip()]
    paths = [word for word in words if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", word) and "/" in word]
    ours = [path for path in paths if (ROOT / path.split("/")[0]).is_dir() and not path.startswith(".venv/")]
    # Then they are there
    assert [path for path in ours if not (ROOT / path).exists()] == []


@each_page
def test_every_command_line_of_tilewright_can_be_given(page: Path) -> None:
    # Given the lines that begin with the command
    lines = [line for line in code(page) if line.startswith(".venv/bin/tilewright ")]
    command = typer.main.get_command(cli.app)
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        # When their words are taken apart as the command itself does, then none is unknown, and none is missing
        context = command.make_context("tilewright", list(words))
        _, sub, rest = command.resolve_command(context, words)  # type: ignore[attr-defined]  # a group's own method
        sub.make_context(sub.name, rest, parent=context)


@each_page
def test_every_setting_that_is_named_is_read_by_a_service_or_the_command(page: Path) -> None:
    # Given the variables that are read
    fields = {f"TILEWRIGHT_{name.upper()}" for settings in SERVICES.values() for name in settings.model_fields}
    # When a page names one, then it is one of them
    named = set(re.findall(r"\bTILEWRIGHT_[A-Z][A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert named - {"TILEWRIGHT_SERVER"} <= fields


@each_page
def test_every_grpc_name_is_one_of_the_protos(page: Path) -> None:
    # Given the services, methods and messages of status.proto
    known = set(pb.DESCRIPTOR.message_types_by_name) | set(pb.DESCRIPTOR.services_by_name)
    for service in pb.DESCRIPTOR.services_by_name.values():
        known |= {f"{service.name}/{method.name}" for method in service.methods}
    # When a page names one, then it is one of them
    named = re.findall(r"tilewright\.status\.v1\.(\w+(?:/\w+)?)", page.read_text(encoding="utf-8"))
    assert set(named) <= known


def test_the_api_page_explains_every_field() -> None:
    # Given the names in the first columns of the page's tables
    rows = re.findall(r"^\|([^|]*)\|", prose(API), re.MULTILINE)
    explained = {name for row in rows for name in SPAN.findall(row)}
    # When one looks for the contract's fields, then all are among them
    assert {field for model in (*ANSWERS, *BODIES) for field in model.model_fields} - explained == set()


def test_the_api_page_names_the_http_status_of_every_code() -> None:
    # Given the page's table, when one looks for each code, then it stands in the row of its status
    text = prose(API)
    for name, status in STATUS_OF_CODE.items():
        (row,) = re.findall(rf"^\| {status} \|(.*)$", text, re.MULTILINE)
        assert name in SPAN.findall(row), f"{name} is not in the row of {status}"


def _shapes(value: Any) -> Iterable[str]:
    """The models that an answer fits exactly, no field more and none less."""
    for model in ANSWERS:
        try:
            if model.model_validate(value).model_dump(exclude_unset=True) == value:
                yield model.__name__
        except ValidationError:
            continue


def test_every_answer_on_the_api_page_has_a_shape_of_the_contract() -> None:
    # Given the page's JSON
    answers = [
        json.loads(block) for language, block in FENCE.findall(API.read_text(encoding="utf-8")) if language == "json"
    ]
    assert len(answers) > len(ANSWERS)
    # When it is held against the contract's models, then each fits one; a TileJSON and an info.json are not ours
    others = {"tilejson", "@context"}
    strangers = [answer for answer in answers if not others & set(answer) and not [*_shapes(answer)]]
    assert strangers == []
    # And each model is shown
    assert {name for answer in answers for name in _shapes(answer)} == {model.__name__ for model in ANSWERS}


def test_the_api_page_describes_the_service_as_it_is() -> None:
    # Given what grpcurl describes: each method of the users' service, by name
    service = pb.DESCRIPTOR.services_by_name["StatusService"]
    lines = []
    for method in sorted(service.methods, key=lambda method: method.name):
        stream = "stream " if method.server_streaming else ""
        asked, answered = method.input_type.full_name, method.output_type.full_name
        lines.append(f"  rpc {method.name} ( .{asked} ) returns ( {stream}.{answered} );")
    # When it is looked for on the page, then it is there
    assert "\n".join(lines) in API.read_text(encoding="utf-8")
