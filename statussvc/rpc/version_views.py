"""The versions of a dataset as messages of the proto. Pure."""

from __future__ import annotations

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db import CatalogueEntry, PyramidRow, VersionRow
from statussvc.lifecycle import State
from statussvc.rpc import views


def versions(
    entry: CatalogueEntry, earlier: list[tuple[VersionRow, PyramidRow]], keep: int, grace: float
) -> pb.ListVersionsResponse:
    """The versions of a dataset: the present one, if there is one, then the earlier ones.

    Parameters
    ----------
    keep, grace: as of Policy.
    """
    row, found = entry.row, pb.ListVersionsResponse()
    if row.state is State.READY and entry.pyramid is not None:
        found.versions.append(
            pb.Version(
                pyramid=views.shown_pyramid(row, entry.pyramid),
                source_sha256=row.source_sha256 or "",
                source_bytes=row.source_bytes or 0,
                source_modified=row.source_modified or "",
                create_time=views.timestamp(row.finished_at),
            )
        )
    for number, (version, its) in enumerate(earlier, start=2):
        found.versions.append(
            pb.Version(
                pyramid=views.pyramid(its),
                source_sha256=version.source_sha256,
                source_bytes=version.source_bytes,
                source_modified=version.source_modified,
                create_time=views.timestamp(version.created_at),
                replace_time=views.timestamp(version.replaced_at),
                expire_time=views.timestamp(version.replaced_at + grace) if number > keep else None,
            )
        )
        found.versions[-1].pyramid.version = version.pyramid_version
    return found
