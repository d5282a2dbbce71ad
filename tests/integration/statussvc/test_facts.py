"""What runs find out about a source, and what a later run may build on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import grpc
import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.rigs.status_rig import SHA, Status, running

URL = "https://example.org/earth.jpg"
HEADER = pb.SourceInfo(format="tiff", width=43200, height=21600, pages=3)


@pytest.fixture(params=["sqlite", "postgres"])
def status(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Status]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path / 'db'}"
    with running(url, retry_base_seconds=0.001) as started:
        yield started


@pytest.fixture
def run_ids() -> Iterator[str]:
    return (f"{number:032x}" for number in count(1))


def report(status: Status, run_id: str, seq: int, **facts: Any) -> pb.ReportProgressResponse:
    return status.pipeline.ReportProgress(pb.ReportProgressRequest(run_id=run_id, beat_seq=seq, **facts))


def fetch(status: Status, dataset_id: str, run_id: str, *, etag: str = "", modified: str = "") -> None:
    status.begin(dataset_id, run_id)
    result = pb.IngestResult(sha256=SHA, bytes=1234, etag=etag, last_modified=modified)
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run_id, ingest=result))


def make(status: Status, run_ids: Iterator[str], **validators: str) -> str:
    """A ready dataset."""
    dataset_id = status.create(url=URL)
    fetch(status, dataset_id, next(run_ids), **validators)
    if status.state(dataset_id) != "READY":
        run_id = next(run_ids)
        status.begin(dataset_id, run_id, stage=pb.STAGE_TILER)
        status.complete_tiler(run_id)
    return dataset_id


def test_what_the_header_says_is_shown_from_its_beat_on_and_after_a_restart_of_the_stage(
    status: Status, run_ids: Iterator[str]
) -> None:
    # Given a download whose run has read the header
    dataset_id, run_id = status.create(), next(run_ids)
    status.begin(dataset_id, run_id)
    assert not status.get(dataset_id).HasField("source")
    before = status.get(dataset_id).revision
    report(status, run_id, 1, source=HEADER)
    # Then the status says it, as a change
    assert status.get(dataset_id).source == HEADER
    assert status.get(dataset_id).revision > before
    # And still when the run is over
    status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=run_id))
    assert status.get(dataset_id).source == HEADER


def test_pages_that_only_the_whole_file_would_tell_are_not_asked_for(status: Status, run_ids: Iterator[str]) -> None:
    dataset_id, run_id = status.create(), next(run_ids)
    status.begin(dataset_id, run_id)
    header = pb.SourceInfo(format="gif", width=20, height=10)
    assert report(status, run_id, 1, source=header).order == pb.ReportProgressResponse.ORDER_CONTINUE
    assert status.get(dataset_id).source == header


REWRITTEN = pb.Rewritten(rule="IIIF", url="https://example.org/full/max/0/default.jpg", note="It is reduced.")


def test_a_rewritten_link_is_shown_until_another_download_begins(status: Status, run_ids: Iterator[str]) -> None:
    # Given a download whose beat says what its link was rewritten to
    dataset_id, run_id = status.create(), next(run_ids)
    status.begin(dataset_id, run_id)
    report(status, run_id, 1, rewritten=REWRITTEN)
    assert status.get(dataset_id).rewritten == REWRITTEN
    # When it is given back, then that is still shown; the next download finds out for itself
    status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=run_id))
    assert status.get(dataset_id).rewritten == REWRITTEN
    run_id = next(run_ids)
    status.begin(dataset_id, run_id, attempt=2)
    assert not status.get(dataset_id).HasField("rewritten")
    # And an outcome says it too, since a run may end before its next beat
    failure = pb.Failure(code="source_not_found", message="Nothing there.", retryable=False)
    status.pipeline.FailStage(pb.FailStageRequest(run_id=run_id, failure=failure, rewritten=REWRITTEN))
    assert status.get(dataset_id).rewritten == REWRITTEN
    # When the dataset gets another URL, then it is not shown any more
    status.users.RetryDataset(pb.RetryDatasetRequest(dataset_id=dataset_id, url="https://example.org/other.jpg"))
    assert not status.get(dataset_id).HasField("rewritten")
    status.begin(dataset_id, run_id := next(run_ids), attempt=3)
    result = pb.IngestResult(sha256=SHA, bytes=1234)
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run_id, ingest=result, rewritten=REWRITTEN))
    assert status.get(dataset_id).rewritten == REWRITTEN
    # And an outcome that is repeated, or comes too late, changes nothing
    late = pb.CompleteStageRequest(
        run_id=run_id, ingest=result, rewritten=pb.Rewritten(rule="X", url="https://x.example/")
    )
    status.pipeline.CompleteStage(late)
    assert status.get(dataset_id).rewritten == REWRITTEN


def test_a_preview_is_shown_while_its_run_is_at_work_and_goes_with_it(status: Status, run_ids: Iterator[str]) -> None:
    # Given a tiling that has stored a preview below its build
    dataset_id = status.create()
    fetch(status, dataset_id, next(run_ids))
    run_id = next(run_ids)
    grant = status.begin(dataset_id, run_id, stage=pb.STAGE_TILER)
    preview = pb.Preview(width=1024, height=768, key=f"pyramids/{grant.tile_id}/{run_id}/preview.jpg")
    report(status, run_id, 1, preview=preview)
    assert status.get(dataset_id).preview == preview
    # When the run gives its stage back, Then its files may be swept, and nothing points at them
    status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=run_id))
    assert not status.get(dataset_id).HasField("preview")


@pytest.mark.parametrize(
    "facts",
    [
        {"source": pb.SourceInfo(format="<tiff>", width=1, height=1, pages=1)},
        {"source": pb.SourceInfo(format="tiff", width=0, height=1, pages=1)},
        {"source": pb.SourceInfo(format="tiff", width=1, height=1, pages=-1)},
        {"preview": pb.Preview(width=1, height=1, key="sources/custom_a1b2c3d4/1")},
        {"preview": pb.Preview(width=1, height=1, key=f"pyramids/{'a' * 64}/{'b' * 32}/preview.jpg")},
        {"preview": pb.Preview(width=1, height=1, key=f"pyramids/{'a' * 64}/{1:032x}/../preview.jpg")},
        {"rewritten": pb.Rewritten(rule="IIIF")},
        {"rewritten": pb.Rewritten(rule="IIIF", url="https://example.org/" + "a" * 8000)},
        {"progress": pb.Progress(bytes_downloaded=-1)},
        {"progress": pb.Progress(tiles_total=-1)},
    ],
)
def test_a_beat_that_says_what_cannot_be_is_refused(
    status: Status, run_ids: Iterator[str], facts: dict[str, Any]
) -> None:
    dataset_id, run_id = status.create(), next(run_ids)
    status.begin(dataset_id, run_id)
    with pytest.raises(grpc.RpcError) as caught:
        report(status, run_id, 1, **facts)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_download_is_told_of_a_finished_one_of_the_same_url(status: Status, run_ids: Iterator[str]) -> None:
    # Given a ready dataset whose server gave validators
    earlier = make(status, run_ids, etag='"v1"', modified="Wed, 21 Oct 2015 07:28:00 GMT")
    # When its URL is submitted again, Then the grant says where its bytes lie and what to ask the server
    grant = status.begin(status.create(url=URL), next(run_ids))
    assert grant.known == pb.KnownSource(
        source_key=f"sources/{earlier}/1",
        bytes=1234,
        sha256=SHA,
        etag='"v1"',
        last_modified="Wed, 21 Oct 2015 07:28:00 GMT",
    )
    # And another URL is told nothing
    assert not status.begin(status.create(url=URL + "?2"), next(run_ids)).HasField("known")


def test_a_finished_download_without_validator_deleted_or_not_ready_is_not_told(
    status: Status, run_ids: Iterator[str]
) -> None:
    make(status, run_ids)
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=make(status, run_ids, etag='"v1"')))
    failed, run_id = status.create(url=URL), next(run_ids)
    fetch(status, failed, run_id, etag='"v2"')
    assert status.state(failed) in ("DOWNLOADED", "READY")
    if status.state(failed) == "DOWNLOADED":
        run_id = next(run_ids)
        status.begin(failed, run_id, stage=pb.STAGE_TILER)
        status.fail(run_id, "image_corrupt", retryable=False)
        assert not status.begin(status.create(url=URL), next(run_ids)).HasField("known")


def test_the_next_run_is_told_of_the_last_that_ended_and_its_scratch_is_kept_for_it(
    status: Status, run_ids: Iterator[str]
) -> None:
    def garbage(*owners: str) -> list[str]:
        found = [pb.StoredItem(prefix=f"scratch/{owner}/") for owner in owners]
        leased = status.pipeline.LeaseGarbage(pb.LeaseGarbageRequest(found=found)).garbage
        return [item.prefix.split("/")[1] for item in leased]

    # Given a download that was given back twice
    dataset_id, first, second, third = status.create(), next(run_ids), next(run_ids), next(run_ids)
    assert status.begin(dataset_id, first).resume_run_id == ""
    status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=first))
    assert garbage(first) == []
    assert status.begin(dataset_id, second, attempt=2).resume_run_id == first
    assert garbage(first, second) == []
    status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=second))
    # Then the third builds on the second, and what the first left is garbage
    assert status.begin(dataset_id, third, attempt=3).resume_run_id == second
    assert garbage(first, second, third) == [first]
    # And when the dataset has come to an end, all of it is
    status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=dataset_id))
    assert garbage(second, third) == [second, third]


def test_a_download_says_how_fast_it_is(status: Status, run_ids: Iterator[str]) -> None:
    dataset_id, run_id = status.create(), next(run_ids)
    status.begin(dataset_id, run_id)
    for seq in count(1):
        status.beat(run_id, seq, bytes_downloaded=1_000_000 * seq)
        if status.get(dataset_id).HasField("bytes_per_second"):
            break
    assert status.get(dataset_id).bytes_per_second > 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"format": 77}, "options.format"),
        ({"quality": 101}, "options.quality"),
        ({"quality": -1}, "options.quality"),
        ({"page": -1}, "options.page"),
        ({"damage": 7}, "options.damage"),
        ({"member": "x" * 1001}, "options.member"),
        ({"stretch": "much"}, "options.stretch"),
        ({"channels": ["0", "1", "2", "3"]}, "options.channels"),
        ({"channels": ["A", "A"]}, "options.channels"),
    ],
)
def test_options_that_no_pyramid_can_have_are_refused(status: Status, options: dict[str, Any], field: str) -> None:
    with pytest.raises(grpc.RpcError, match=field):
        status.create(options=pb.TileOptions(**options))


def test_what_was_asked_of_the_tiles_reaches_both_workers(status: Status, run_ids: Iterator[str]) -> None:
    options = pb.TileOptions(tile_size=512, format=pb.TILE_FORMAT_WEBP, quality=70, page=2, damage=pb.DAMAGE_ACCEPT)
    options.stretch = "asinh"
    options.channels.extend(["DAPI", "2"])
    options.member = "a/b.tif"
    dataset_id = status.create(options=options, sha256=SHA)
    run_id = next(run_ids)
    grant = status.begin(dataset_id, run_id)
    assert (grant.options, grant.expected_sha256) == (options, SHA)
    status.complete_ingest(run_id)
    assert status.begin(dataset_id, next(run_ids), stage=pb.STAGE_TILER).options == options


def test_a_hash_that_is_none_is_refused(status: Status) -> None:
    with pytest.raises(grpc.RpcError, match="sha256"):
        status.create(sha256="AB" * 32)


def test_an_idempotency_key_goes_with_the_options(status: Status) -> None:
    first = status.create(idempotency_key="k", options=pb.TileOptions(quality=70))
    assert status.create(idempotency_key="k", options=pb.TileOptions(quality=70)) == first
    for other in (pb.TileOptions(), pb.TileOptions(quality=70, damage=pb.DAMAGE_ACCEPT)):
        with pytest.raises(grpc.RpcError) as caught:
            status.create(idempotency_key="k", options=other)
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    # And a default is the same as nothing
    plain = status.create(idempotency_key="l")
    assert status.create(idempotency_key="l", options=pb.TileOptions(damage=pb.DAMAGE_REFUSE)) == plain


def test_warnings_belong_to_the_pyramid_and_all_that_show_it(status: Status, run_ids: Iterator[str]) -> None:
    # Given a build with a warning
    first = status.create()
    status.begin(first, run := next(run_ids))
    status.complete_ingest(run)
    status.begin(first, run := next(run_ids), stage=pb.STAGE_TILER)
    warning = pb.Warning(code="image_incomplete", message="Rows 3 to 9 of 10 could not be decoded.")
    made = pb.TilerResult(width=9, height=9, format=pb.TILE_FORMAT_JPEG, tile_count=5, bytes=9, warnings=[warning])
    # When a worker reports a code that nobody knows, a text of any length, or any number of them, it is refused
    strange = pb.Warning(code="all_is_well", message="")
    long = pb.Warning(code=warning.code, message="x" * 501)
    for wrong in ([strange], [long], [warning] * 21):
        bad = pb.TilerResult(width=9, height=9, format=pb.TILE_FORMAT_JPEG, tile_count=5, bytes=9, warnings=wrong)
        with pytest.raises(grpc.RpcError, match="warnings"):
            status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run, tiler=bad))
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run, tiler=made))
    # Then the dataset has it, and so has another one that finds the same pyramid built
    second = status.create()
    status.begin(second, run := next(run_ids))
    status.complete_ingest(run)
    assert status.state(second) == "READY"
    assert list(status.get(first).warnings) == list(status.get(second).warnings) == [warning]


@pytest.mark.parametrize("way", ["beat", "completed"])
def test_a_run_that_says_where_it_downloads_from_is_no_reason_for_its_urls_host_to_refuse(
    status: Status, run_ids: Iterator[str], way: str
) -> None:
    # Given a download that says that it was led to another host, and one that the host of both URLs refuses
    one, other = next(run_ids), next(run_ids)
    status.begin(status.create(), one)
    refused = status.create()
    status.begin(refused, other)
    if way == "beat":
        report(status, one, 1, source_host="example.org")
        report(status, one, 2, source_host="stranger.example")
        report(status, one, 3)  # as an older worker would go on
    else:
        result = pb.IngestResult(sha256=SHA, bytes=1234)
        status.pipeline.CompleteStage(
            pb.CompleteStageRequest(run_id=one, ingest=result, source_host="stranger.example")
        )
    failure = pb.Failure(code="source_unavailable", message="It is busy.", retryable=True)
    status.pipeline.FailStage(
        pb.FailStageRequest(run_id=other, failure=failure, refused=True, refused_by="example.org")
    )
    # Then that counts as a retry, and nobody waits for the host
    seen = status.get(refused)
    assert (seen.failure.code, seen.HasField("hold")) == ("source_unavailable", False)
