"""Faults inside statussvc are told as such, over gRPC and REST, and logged: no caller is blamed for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from sqlalchemy import Connection, text

from pipeline.logs import Repeats
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc import core
from statussvc.db.repository import catalogue
from tests.support.rigs import gateway_rig
from tests.support.rigs.status_rig import code_of, running


@pytest.fixture(autouse=True)
def forget_what_was_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_repeats", Repeats())


def told(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "statussvc.core"]


def test_a_fault_that_is_a_value_error_is_no_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(f"sqlite:///{tmp_path}/rows.sqlite3") as status,
        gateway_rig.serving(status.address, tmp_path / "storage") as gateway,
    ):
        # Given a service in which something is wrong, told each time in other words
        def fail(_connection: Connection, wanted: object) -> NoReturn:
            raise ValueError(f"not enough values to unpack at {id(wanted)}")

        monkeypatch.setattr(catalogue, "page", fail)
        # When users ask, then it says that it is its own fault
        for _ in range(3):
            assert code_of(lambda: status.users.ListDatasets(pb.ListDatasetsRequest())) is grpc.StatusCode.INTERNAL
        answer = gateway.get("/api/datasets")
        assert (answer.status_code, answer.json()["code"]) == (500, "unexpected_error")
        assert "unpack" not in answer.text
        # And its log has it, once, with where it was raised
        (record,) = told(caplog)
        assert record.message == "/tilewright.status.v1.StatusService/ListDatasets failed"
        assert record.exc_info[0] is ValueError
        # But what a caller has said wrongly stays the caller's, and is not logged
        bad = pb.ListDatasetsRequest(page_token="x")
        assert code_of(lambda: status.users.ListDatasets(bad)) is grpc.StatusCode.INVALID_ARGUMENT
        answer = gateway.get("/api/datasets?cursor=x")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert len(told(caplog)) == 1


def test_a_value_that_the_database_refuses_is_a_fault_as_well(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(postgres_url) as status,
        gateway_rig.serving(status.address, tmp_path / "storage") as gateway,
    ):
        # Given a statement whose value PostgreSQL refuses (SQLAlchemy's DataError)
        def fail(connection: Connection, *_: object) -> None:
            connection.execute(text("SELECT 1 / 0"))

        monkeypatch.setattr(catalogue, "create", fail)
        # When a dataset is posted, then nobody is told that it was the request
        body = {"name": "Earth", "url": "https://example.org/earth.jpg"}
        answer = gateway.post("/api/datasets", json=body)
        assert (answer.status_code, answer.json()["code"]) == (500, "unexpected_error")
        assert code_of(status.create) is grpc.StatusCode.INTERNAL
        (record,) = told(caplog)
        assert "division by zero" in str(record.exc_info[1])
