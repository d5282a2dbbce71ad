"""What strangers say, on PostgreSQL, whose text takes no U+0000: a source's words cost no job, a user's are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

import grpc
import pytest

from pipeline.texts import visible
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants
from tests.support.network.answers import asked
from tests.support.network.sources import Behaviour, Exchange, SourceServer
from tests.support.rigs.waiting import LIMIT, until

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
NUL, SURROGATE, CONTROLS = "\0", "\xed\xa0\x80", "\x1b[31m\x9b\x7f\x01"
"""As latin-1 has their bytes: a header carries any."""

HEADERS: dict[str, Mapping[str, str]] = {
    "nul": {"Last-Modified": f"{DATE}{NUL}", "ETag": f'"a{NUL}"', "Content-Type": f"image/jpeg{NUL}"},
    "nul-in-date": {"Last-Modified": f"{NUL}{DATE}"},
    "surrogate": {"Last-Modified": f"{DATE} {SURROGATE}", "ETag": f'"{SURROGATE}"', "Content-Type": SURROGATE},
    "controls": {"Last-Modified": f"{CONTROLS}{DATE}", "ETag": f'"{CONTROLS}"', "Content-Type": CONTROLS},
    "long": {"Last-Modified": DATE + " " * 5000 + "x" * 15000, "ETag": f'"{"a" * 20000}"', "Content-Type": "b" * 20000},
}
"""All but the last would be 64 KiB with more of them, and that is what all headers may have."""


def saying(data: bytes, headers: Mapping[str, str]) -> Behaviour:
    """The file with ranges, and these headers byte for byte."""

    def answer(exchange: Exchange) -> None:
        span = asked(exchange.headers)
        first, end = (span[0], (span[1] if span[1] is not None else len(data) - 1) + 1) if span else (0, len(data))
        lines = {**headers, "Content-Length": str(len(data[first:end]))}
        if span:
            lines["Content-Range"] = f"bytes {first}-{min(end, len(data)) - 1}/{len(data)}"
        head = f"HTTP/1.1 {206 if span else 200} OK\r\n" + "".join(f"{name}: {lines[name]}\r\n" for name in lines)
        exchange.wfile.write(f"{head}\r\n".encode("latin-1"))
        exchange.body(data[first:end])

    return answer


def redirecting(location: str) -> Behaviour:
    def answer(exchange: Exchange) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        exchange.wfile.write(head.encode("latin-1"))

    return answer


def test_no_word_of_a_stranger_costs_a_job(postgres_farm: Farm, sources: SourceServer, picture: NewPicture) -> None:
    farm = postgres_farm
    farm.add_worker("inspect", "ingest", module="inspect_worker", threads=2).start()
    # Given sources whose headers have what no text of PostgreSQL has, and more than anybody needs
    expected, inspections = {}, {}
    for name, headers in HEADERS.items():
        data = picture()
        url = sources.on(f"/words-{name}.jpg", saying(data, headers))
        expected[farm.submit(url)] = Expected(data)
        answer = farm.session.post(f"{farm.url}/api/inspections", json={"url": url}, timeout=LIMIT)
        inspections[name] = answer.headers["Location"]
    # And redirects to what is no address
    for number, location in enumerate((f"/a{NUL}b", f"http://{SURROGATE}/", f"http://a{NUL}.test/", "/" + CONTROLS)):
        url = sources.on(f"/words-to-{number}.jpg", redirecting(location))
        expected[farm.submit(url)] = Expected(state=pb.STATE_FAILED, code="")
    # Then each dataset ends at its first attempt: none has killed its worker
    for dataset_id, end in list(expected.items()):
        status = farm.finish(dataset_id)
        failure = farm.row(dataset_id)["error_code"] or ""
        assert (status.state, status.attempt) == (end.state, 1), failure
        assert failure.startswith("source_") == (end.state == pb.STATE_FAILED), failure
        expected[dataset_id] = Expected(end.picture, end.state, failure)
    # And each inspection ends with its report, of which every word can be shown
    for name, path in inspections.items():
        until(lambda path=path: farm.get(path, "status") == "ready", f"the report of {name}")  # type: ignore[misc]
        kind = farm.get(path, "report", "content_type")
        assert len(kind) <= 200
        assert visible(kind) == kind
    check_invariants(farm, expected)
    # When users say such words, then they are told, and nothing is done
    bodies = [{"name": "a\0b"}, {"description": "\0"}, {"category": "\0"}, {"subject": "\0"}]
    bodies += [{"name": "\ud800"}, {"description": "\udfff"}, {"url": "http://a\0b/"}, {"url": "http://a/\ud800"}]
    for body in bodies:
        text = json.dumps({"name": "Earth", "url": "https://example.org/a.jpg"} | body)
        answer = farm.session.post(f"{farm.url}/api/datasets", data=text, timeout=LIMIT)
        assert answer.status_code == 422, (body, answer.text)
    for body in ({"url": "http://a/\0"}, {"url": "http://a/\ud800"}):
        answer = farm.session.post(f"{farm.url}/api/inspections", data=json.dumps(body), timeout=LIMIT)
        assert answer.status_code == 422, (body, answer.text)
    some = next(iter(expected))
    answer = farm.session.patch(f"{farm.url}/api/datasets/{some}", data='{"name": "a\\u0000"}', timeout=LIMIT)
    assert answer.status_code == 422
    for query in ("q", "category", "subject", "cursor", "status"):
        for word in ("%00", "a%00b", "%ED%A0%80%00"):
            path = f"{farm.url}/api/datasets?{query}={word}"
            assert farm.session.get(path, timeout=LIMIT).status_code == 422, path
    for path in ("/api/datasets/a%00", "/api/datasets/a%00/status", "/api/inspections/%00", "/tiles/a%00.dzi"):
        assert farm.session.get(f"{farm.url}{path}", timeout=LIMIT).status_code == 404, path
    for request in (
        pb.CreateDatasetRequest(name="a\0", url="https://example.org/a.jpg"),
        pb.CreateDatasetRequest(name="a", url="https://example.org/a.jpg", idempotency_key="\0"),
        pb.CreateInspectionRequest(url="https://example.org/\0"),
        pb.GetDatasetRequest(dataset_id="\0"),
        pb.DeleteDatasetRequest(dataset_id="\0"),
        pb.CancelDatasetRequest(dataset_id="\0"),
        pb.RetryDatasetRequest(dataset_id="\0"),
        pb.RefreshDatasetRequest(dataset_id="\0"),
        pb.ListVersionsRequest(dataset_id="\0"),
        pb.UpdateDatasetRequest(dataset_id="\0", name="a"),
        pb.GetStatusRequest(dataset_id="\0"),
        pb.ResolveDatasetRequest(dataset_id="\0"),
        pb.GetPyramidRequest(tile_id="\0"),
        pb.GetInspectionRequest(inspection_id="\0"),
        pb.ListDatasetsRequest(query="\0"),
        pb.ListDatasetsRequest(category="\0"),
        pb.ListDatasetsRequest(subject="\0"),
        pb.ListDatasetsRequest(page_token="\0"),
    ):
        rpc = getattr(farm.users, type(request).__name__.removesuffix("Request"))
        with pytest.raises(grpc.RpcError) as refusal:
            rpc(request, timeout=LIMIT)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (request, refusal.value)
    watch = farm.users.WatchDataset(pb.WatchDatasetRequest(dataset_id="\0"), timeout=LIMIT)
    with pytest.raises(grpc.RpcError) as refusal:
        next(watch)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
