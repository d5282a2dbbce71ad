"""A process that is short of files or threads blames no dataset for it, however its libraries wrap that."""

from __future__ import annotations

import errno
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from pipeline.errors import StageError, StorageError
from pipeline.run import Limits, Run, run_stage, stage
from pipeline.shortages import shortage
from protos.tilewright.status.v1 import status_pb2 as pb


def too_many(number: int = errno.EMFILE) -> OSError:
    return OSError(number, os.strerror(number))


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def met_while(error: Exception, context: BaseException) -> Exception:
    error.__context__ = context
    return error


ANY: Any = None

SHORT: list[Exception] = [
    too_many(),
    too_many(errno.ENFILE),
    caused(StorageError("cannot be written"), too_many()),
    met_while(StageError("source_unreachable", "It cannot be reached."), too_many()),
    requests.ConnectionError(MaxRetryError(ANY, "/", caused(NewConnectionError(ANY, "x"), too_many()))),
    RuntimeError("can't start new thread"),
]

OTHER: list[Exception] = [
    too_many(errno.ENOSPC),
    FileNotFoundError(errno.ENOENT, "no"),
    RuntimeError("something else"),
    caused(StorageError("cannot be written"), too_many(errno.EIO)),
]


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_what_came_of_a_shortage_is_told_as_one(error: Exception) -> None:
    assert shortage(error)


@pytest.mark.parametrize("error", OTHER, ids=repr)
def test_what_did_not_is_not(error: Exception) -> None:
    assert shortage(error) == ""


def test_errors_that_name_each_other_come_to_an_end() -> None:
    one, other = ValueError("a"), ValueError("b")
    one.__context__, other.__context__ = other, one
    assert shortage(one) == ""


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_a_run_that_meets_a_shortage_is_given_back_unblamed(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a stage whose work meets one
    monkeypatch.setattr(stage, "SHORTAGE_PAUSE", 0.0)
    said: list[str] = []
    grant = pb.BeginStageResponse(grant=pb.Grant(url="https://example.org/a.jpg"))
    go_on = pb.ReportProgressResponse(order=pb.ReportProgressResponse.ORDER_CONTINUE)

    def outcome(name: str) -> Any:
        return lambda request: said.append(name)

    status: Any = SimpleNamespace(
        begin_stage=lambda request: grant,
        report_progress=lambda request: go_on,
        fail_stage=outcome("fail"),
        release_stage=outcome("release"),
        complete_stage=outcome("complete"),
    )

    def work(run: Run) -> pb.IngestResult:
        raise error

    # When it is run, Then it is given back, and nothing counts against the dataset
    wake_up = pb.WakeUp(dataset_id="custom_00000001", attempt=1, stage=pb.STAGE_INGEST)
    limits = Limits(total=60.0, progress=60.0)
    run_stage(status, wake_up, work, stopping=threading.Event(), limits=limits)
    assert said == ["release"]
