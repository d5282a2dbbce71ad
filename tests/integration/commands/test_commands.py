"""The command itself, against a scripted server: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.support.rigs.command import Ended, run_command
from tests.support.rigs.rest import Answer, ScriptedGateway, scripted_gateway
from tests.support.rigs.servers import free_port

ID = "custom_0123abcd"
DOWNLOADING = {
    "dataset_id": ID,
    "status": "processing",
    "progress": "downloading",
    "message": "Downloading… 34 %",
    "percent": 17.0,
    "stage_percent": 34.0,
    "bytes_downloaded": 34_000_000,
    "bytes_total": 100_000_000,
    "attempt": 1,
}
TILING = DOWNLOADING | {"progress": "generating_tiles", "message": "Generating tiles… 1 %"}
READY = {
    "dataset_id": ID,
    "status": "ready",
    "tile_info": {"tile_id": "ab", "max_zoom": 6, "status": "completed", "width": 10800, "height": 5400},
}
FAILED = {"status": "failed", "error": {"code": "source_timeout", "message": "It took too long.", "retryable": True}}
DATASET = {
    "dataset_id": ID,
    "name": "The\tEarth",
    "status": "ready",
    "progress": "completed",
    "created_at": "2024-05-01T12:00:00.000Z",
    "tile_urls": {"dzi": "/tiles/ab.dzi", "xyz": "/tiles/ab/{z}/{x}/{y}.jpg", "thumbnail": "/tiles/ab/thumbnail.jpg"},
}


Run = Callable[..., Ended]


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as running:
        yield running


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process."""
    monkeypatch.delenv("TILEWRIGHT_SERVER", raising=False)

    def run(*arguments: str) -> Ended:
        return run_command(monkeypatch, capsys, *arguments)

    return run


def script_status(gateway: ScriptedGateway, *statuses: Mapping[str, object]) -> None:
    gateway.on(f"GET /api/datasets/{ID}/status", *(Answer(200, status, {"Retry-After": "0"}) for status in statuses))
    gateway.on(f"GET /api/datasets/{ID}", Answer(200, DATASET))


def test_submit_prints_nothing_but_the_id_on_standard_output(gateway: ScriptedGateway, run: Run) -> None:
    # Given a server that accepts
    gateway.on("POST /api/datasets", Answer(202, {"dataset_id": ID}))

    # When a URL is submitted
    ended = run("submit", "https://example.org/a.tif", "--name", "A", "--server", gateway.url)

    # Then a script gets the id, and a person what to do with it
    assert ended.code == 0
    assert ended.out == f"{ID}\n"
    assert f"tilewright watch {ID}" in ended.err
    assert f"{gateway.url}/view/{ID}" in ended.err


def test_submit_hands_on_what_is_asked_of_the_tiles(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on("POST /api/datasets", Answer(202, {"dataset_id": ID}))
    wishes = ("--tile-size", "512", "--format", "webp", "--quality", "70", "--page", "2", "--sha256", "ab" * 32)
    assert run("submit", "https://example.org/a.tif", "--name", "A", *wishes, "--server", gateway.url).code == 0
    (request,) = gateway.asked
    assert request.body == {
        "url": "https://example.org/a.tif",
        "name": "A",
        "tile_size": 512,
        "format": "webp",
        "quality": 70,
        "page": 2,
        "sha256": "ab" * 32,
    }


def test_submit_and_wait_tells_each_phase_once_and_prints_the_addresses(gateway: ScriptedGateway, run: Run) -> None:
    # Given a job with two looks at each of its phases
    gateway.on("POST /api/datasets", Answer(202, {"dataset_id": ID}))
    script_status(gateway, DOWNLOADING, DOWNLOADING | {"percent": 40.0}, TILING, TILING | {"percent": 80.0}, READY)

    # When it is waited for, not on a terminal
    ended = run("submit", "https://example.org/a.tif", "--name", "A", "--wait", "--server", gateway.url)

    # Then progress is a line a phase on standard error, and the result stands on standard output
    assert ended.code == 0
    assert ended.err.splitlines() == [
        f"{ID}: Downloading…",
        f"{ID}: Generating tiles…",
        f"{ID}: Ready.",
    ]
    assert ended.out.splitlines() == [
        f"dataset    {ID}",
        "status     ready",
        f"view       {gateway.url}/view/{ID}",
        f"dzi        {gateway.url}/tiles/ab.dzi",
        f"xyz        {gateway.url}/tiles/ab/{{z}}/{{x}}/{{y}}.jpg",
        f"thumbnail  {gateway.url}/tiles/ab/thumbnail.jpg",
    ]


def test_a_wait_for_a_retry_is_told_once_and_says_why(gateway: ScriptedGateway, run: Run) -> None:
    # Given a job whose retry counts down
    waiting = {"dataset_id": ID, "status": "queued", "progress": "queued", "attempt": 2}
    counting = [waiting | {"message": f"Retrying in {left} s: example.org did not answer."} for left in (9, 8, 7)]
    script_status(gateway, *counting, DOWNLOADING | {"attempt": 2}, READY)
    # When it is waited for, not on a terminal, then the reason is a line
    ended = run("watch", ID, "--server", gateway.url)
    assert ended.err.splitlines()[:2] == [
        f"{ID}: Retrying in 9 s: example.org did not answer.",
        f"{ID}: Downloading… (attempt 2)",
    ]


def test_quiet_leaves_only_the_result(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on("POST /api/datasets", Answer(202, {"dataset_id": ID}))
    script_status(gateway, DOWNLOADING, READY)
    ended = run(
        "submit", "https://example.org/a", "--name", "A", "--wait", "--quiet", "--json", "--server", gateway.url
    )
    assert ended.err == ""
    assert json.loads(ended.out) == DATASET


def test_a_failed_job_ends_with_1_and_says_why_and_what_to_do(gateway: ScriptedGateway, run: Run) -> None:
    # Given a job that fails
    script_status(gateway, DOWNLOADING, FAILED)

    # When it is watched
    ended = run("watch", ID, "--server", gateway.url)

    # Then the exit code and the last lines tell
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.splitlines()[-2:] == [
        f"{ID} failed: It took too long. (source_timeout)",
        f"A retry may help: tilewright retry {ID}",
    ]


def test_an_expired_link_can_be_replaced(gateway: ScriptedGateway, run: Run) -> None:
    # Given a dataset whose link expired
    expired = {"status": "failed", "error": {"code": "source_expired", "message": "It expired.", "retryable": False}}
    gateway.on(f"GET /api/datasets/{ID}/status", Answer(200, expired))
    # When its status is shown, then the command that helps is too
    assert f"tilewright retry {ID} --url URL" in run("status", ID, "--server", gateway.url).err
    # And it sends the new link
    gateway.on(f"POST /api/datasets/{ID}/retry", Answer(202, DATASET))
    ended = run("retry", ID, "--url", "https://example.org/new.tif", "--server", gateway.url)
    assert (ended.code, ended.out) == (0, f"{ID} is waiting for a worker again\n")
    assert gateway.asked[-1].body == {"url": "https://example.org/new.tif"}


def test_watch_as_json_prints_one_status_a_line(gateway: ScriptedGateway, run: Run) -> None:
    script_status(gateway, DOWNLOADING, TILING, READY)
    ended = run("watch", ID, "--json", "--server", gateway.url)
    assert ended.code == 0
    assert [json.loads(line) for line in ended.out.splitlines()] == [DOWNLOADING, TILING, READY]


def test_status_shows_what_a_person_asks_for(gateway: ScriptedGateway, run: Run) -> None:
    script_status(gateway, DOWNLOADING | {"eta_seconds": 70, "attempt": 2})
    ended = run("status", ID, "--server", gateway.url)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"dataset     {ID}",
        "status      processing",
        "message     Downloading… 34 %",
        "percent     17 %",
        "downloaded  34.0 MB",
        "left        1 min 10 s",
        "attempt     2",
    ]


def test_status_of_a_failed_job_ends_with_1_but_its_json_is_complete(gateway: ScriptedGateway, run: Run) -> None:
    script_status(gateway, FAILED)
    ended = run("status", ID, "--json", "--server", gateway.url)
    assert ended.code == 1
    assert json.loads(ended.out) == FAILED


def test_list_in_a_pipe_is_tab_separated_and_a_tab_in_a_name_does_no_harm(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on("GET /api/datasets", Answer(200, {"datasets": [DATASET], "next_cursor": None}))
    ended = run("list", "--status", "ready", "-q", "earth", "--limit", "7", "--server", gateway.url)
    assert ended.code == 0
    assert ended.out == f"{ID}\tready\tcompleted\t2024-05-01T12:00:00.000Z\tThe Earth\n"
    assert gateway.asked[0].target == "/api/datasets?status=ready&q=earth&limit=7"


def test_list_finds_by_url_and_sha256(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on("GET /api/datasets", Answer(200, {"datasets": [], "next_cursor": None}))
    ended = run("list", "--url", "https://example.org/a b", "--sha256", "AB" * 32, "--server", gateway.url)
    assert (ended.code, ended.out) == (0, "")
    assert "no such datasets" in ended.err
    address = "https%3A%2F%2Fexample.org%2Fa+b"
    assert gateway.asked[0].target == f"/api/datasets?url={address}&sha256={'AB' * 32}&limit=50"


def test_list_says_that_there_is_more(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on("GET /api/datasets", Answer(200, {"datasets": [DATASET], "next_cursor": "c1"}))
    ended = run("list", "--json", "--server", gateway.url)
    assert json.loads(ended.out) == DATASET
    assert "--all" in ended.err


def test_list_all_reads_every_page(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on(
        "GET /api/datasets",
        Answer(200, {"datasets": [DATASET], "next_cursor": "c1"}),
        Answer(200, {"datasets": [DATASET], "next_cursor": None}),
    )
    ended = run("list", "--all", "--json", "--server", gateway.url)
    assert len(ended.out.splitlines()) == 2
    assert ended.err == ""


@pytest.mark.parametrize(
    ("command", "request_line", "said"),
    [
        ("cancel", f"POST /api/datasets/{ID}/cancel", "is cancelled"),
        ("retry", f"POST /api/datasets/{ID}/retry", "is waiting for a worker again"),
        ("delete", f"DELETE /api/datasets/{ID}", "is deleted"),
    ],
)
def test_each_order_is_one_request(
    gateway: ScriptedGateway, run: Run, command: str, request_line: str, said: str
) -> None:
    gateway.on(request_line, Answer(204) if command == "delete" else Answer(200, DATASET))
    ended = run(command, ID, "--server", gateway.url)
    assert (ended.code, ended.out) == (0, f"{ID} {said}\n")


def test_what_the_server_refuses_ends_with_1_and_its_sentence(gateway: ScriptedGateway, run: Run) -> None:
    problem = {"code": "conflict", "detail": "The dataset is READY: there is no work to stop."}
    gateway.on(f"POST /api/datasets/{ID}/cancel", Answer(409, problem))
    ended = run("cancel", ID, "--server", gateway.url)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "tilewright: The dataset is READY: there is no work to stop.\n"


@pytest.mark.parametrize(
    "arguments", [("status", ID), ("list",), ("watch", ID), ("submit", "https://example.org/a", "--name", "A")]
)
def test_no_server_ends_with_3_and_says_how_to_start_one(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, "--server", f"http://127.0.0.1:{free_port()}")
    assert (ended.code, ended.out) == (3, "")
    assert "tilewright up" in ended.err
    assert "Traceback" not in ended.err


def test_a_server_that_is_out_of_service_ends_with_3(gateway: ScriptedGateway, run: Run) -> None:
    gateway.on("GET /api/datasets", Answer(503, {"code": "service_unavailable", "detail": "statussvc is away."}))
    ended = run("list", "--server", gateway.url)
    assert ended.code == 3
    assert "statussvc is away." in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "https://example.org/a"),
        ("list", "--status", "done"),
        ("list", "--limit", "0"),
        ("up", "--port", "70000"),
        ("status", ID, "--server", "here:8000"),
        ("lsit",),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


def test_the_server_is_taken_from_the_environment(
    gateway: ScriptedGateway, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.on("GET /api/datasets", Answer(200, {"datasets": [], "next_cursor": None}))
    monkeypatch.setenv("TILEWRIGHT_SERVER", gateway.url)
    assert run("list").code == 0


def test_ctrl_c_ends_the_waiting_with_130_and_says_that_the_work_goes_on(
    gateway: ScriptedGateway, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a watch in which Ctrl-C is pressed after the first status
    script_status(gateway, DOWNLOADING)

    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tilewright.client.time.sleep", press)

    # When it is run
    ended = run("watch", ID, "--server", gateway.url)

    # Then it ends as a shell expects
    assert ended.code == 130
    assert f"The work continues. Follow it: tilewright watch {ID}" in ended.err


@pytest.mark.parametrize(
    "command", ["", "up", "submit", "status", "watch", "list", "cancel", "retry", "delete", "doctor"]
)
def test_help_leads_with_examples(run: Run, command: str) -> None:
    ended = run(*command.split(), "--help")
    assert ended.code == 0
    text = ended.out
    assert text.index("Example") < text.index("Options:")
    assert f"\n    tilewright {command}" in text


def test_help_is_quick_since_no_heavy_room_is_loaded_for_it() -> None:
    # Given a fresh interpreter in which the command shows its help
    probe = (
        "import sys, tilewright.commands.cli\n"
        "sys.argv = ['tilewright', '--help']\n"
        "try: tilewright.commands.cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )

    # When it has done so
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    # Then nothing is loaded that only the stack or a request needs
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not loaded & {
        "pyvips",
        "grpc",
        "fastapi",
        "uvicorn",
        "dramatiq",
        "sqlalchemy",
        "requests",
        "rich",
        "pydantic",
    }


REPORT = {
    "source": {"format": "tiff", "width": 43200, "height": 21600, "pages": 1},
    "bytes": 2_799_360_478,
    "content_type": "image/tiff",
    "ranges": True,
    "tile_size": 256,
    "levels": 17,
    "tiles": 19309,
    "max_zoom": 8,
    "memory_bytes": 244_056_064,
    "fetched_bytes": 91_614,
    "refused": None,
}
INSPECTION = {
    "inspection_id": "inspect_0123abcd",
    "url": "https://example.org/a.tif",
    "status": "ready",
    "report": REPORT,
    "error": None,
}


def test_inspect_shows_a_report_to_read(gateway: ScriptedGateway, run: Run) -> None:
    # Given a server that has looked at once
    gateway.on("POST /api/inspections", Answer(201, INSPECTION))
    # When a URL is inspected
    ended = run("inspect", "https://example.org/a.tif", "--server", gateway.url)
    # Then all that was seen is there to read
    assert ended.code == 0
    values = {line[:7].strip(): line[7:].strip() for line in ended.out.splitlines()}
    assert values["format"] == "tiff"
    assert values["size"] == "43,200 x 21,600 pixels"
    assert values["file"] == "2.8 GB"
    assert values["tiles"] == "19,309 of 256 pixels"
    assert values["levels"] == "17, zooms 0 to 8"
    assert values["refused"] == "no: it can be submitted"
    # And the server was asked to answer when it is there
    (request,) = gateway.asked
    assert request.body == {"url": "https://example.org/a.tif"}


def test_inspect_waits_for_a_look_that_takes_longer(gateway: ScriptedGateway, run: Run) -> None:
    waiting = {"success": True, "inspection_id": "inspect_0123abcd", "status": "processing"}
    gateway.on("POST /api/inspections", Answer(202, waiting))
    gateway.on(
        "GET /api/inspections/inspect_0123abcd",
        Answer(200, INSPECTION | {"status": "processing", "report": None}),
        Answer(200, INSPECTION),
    )
    ended = run("inspect", "https://example.org/a.tif", "--json", "--server", gateway.url)
    assert ended.code == 0
    assert json.loads(ended.out) == INSPECTION


def test_inspect_ends_with_1_for_what_would_be_refused(gateway: ScriptedGateway, run: Run) -> None:
    # Given a page where an image should be
    refused = {"code": "not_an_image", "message": "It is a web page.", "retryable": False}
    nothing = dict.fromkeys(("source", "bytes", "levels", "tiles", "max_zoom", "memory_bytes"))
    report = REPORT | nothing | {"ranges": False, "refused": refused}
    gateway.on("POST /api/inspections", Answer(201, INSPECTION | {"report": report}))
    ended = run("inspect", "https://example.org/a.html", "--server", gateway.url)
    assert ended.code == 1
    assert "It is a web page. (not_an_image)" in ended.out
    assert "unknown size" in ended.out


def test_inspect_says_why_a_source_could_not_be_looked_at(gateway: ScriptedGateway, run: Run) -> None:
    error = {"code": "source_not_found", "message": "There is nothing.", "retryable": False}
    failed = INSPECTION | {"status": "failed", "report": None, "error": error}
    gateway.on("POST /api/inspections", Answer(201, failed))
    ended = run("inspect", "https://example.org/a.tif", "--server", gateway.url)
    assert (ended.code, ended.out) == (1, "")
    assert "There is nothing. (source_not_found)" in ended.err
