"""U+0000 in a request: a user's is refused, a worker's goes without it."""

from __future__ import annotations

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.rpc.malformed import Malformed
from statussvc.rpc.storable import drop_nul, refuse_nul


def test_a_users_request_is_refused_by_the_fields_name() -> None:
    refuse_nul(pb.CreateDatasetRequest(name="Earth", options=pb.TileOptions(tile_size=256)))
    with pytest.raises(Malformed, match=r"^CreateDatasetRequest.name: must not contain the character U\+0000$"):
        refuse_nul(pb.CreateDatasetRequest(name="a\0"))


def test_a_workers_request_loses_it_at_any_depth() -> None:
    report = pb.InspectionReport(content_type="a\0b", refused=pb.Failure(code="c", message="\0", retryable=True))
    request = pb.CompleteStageRequest(run_id="r", inspect=report)
    drop_nul(request)
    assert (request.run_id, request.inspect.content_type, request.inspect.refused.message) == ("r", "ab", "")
    found = pb.LeaseGarbageRequest(found=[pb.StoredItem(prefix="a\0"), pb.StoredItem(prefix="b")])
    drop_nul(found)
    assert [item.prefix for item in found.found] == ["a", "b"]
