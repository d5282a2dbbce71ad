"""Requests as typed values. Every function raises Malformed where the request breaks the rules of status.proto."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from pipeline.channel_choice import COLOUR, MOST_TEXT
from pipeline.channel_choice import MOST as MOST_CHANNELS
from pipeline.channel_choice import parse as parse_channels
from pipeline.errors import DATASET_CODES, MOST_WARNING, MOST_WARNINGS, WARNING_CODES, StageError
from pipeline.sources import MAX_URL_LENGTH, check_url
from pipeline.storage import pyramid_key
from pipeline.stretch import DEFAULT, MAX_LENGTH
from pipeline.stretch import parse as parse_stretch
from pipeline.texts import (
    MAX_DESCRIPTION,
    MAX_KEY,
    MAX_LABEL,
    MAX_MEMBER,
    MAX_NAME,
    MAX_QUERY,
    MAX_REFERENCE,
    sentence,
)
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db import Facts, Failure, Preview, Rewritten, SourceInfo, WakeUp, as_json, catalogue, stages
from statussvc.enums import STAGES, STATES, TILE_FORMATS, asked_page
from statussvc.rpc import own_texts, places
from statussvc.rpc.malformed import Malformed

TILE_SIZES = (256, 512)
MAX_NUMBER = 2**31 - 1
MAX_LENGTHS = {"description": MAX_DESCRIPTION, "category": MAX_LABEL, "subject": MAX_LABEL}
DEFAULT_PAGE, MAX_PAGE = 50, 200

RUN_ID = re.compile("[0-9a-f]{32}")
TOKEN = re.compile("[0-9a-f]{32}")
SHA256 = re.compile("[0-9a-f]{64}")
SOURCE_FORMAT = re.compile("[a-z0-9]{1,16}")

PREVIEW_KEY = re.compile(re.escape(pyramid_key("#", "#")).replace("\\#", "[0-9a-f]+") + r"[a-z0-9.]+")
"""The key of a file in a build."""


def new_dataset(request: pb.CreateDatasetRequest) -> catalogue.NewDataset:
    """A dataset to create."""
    check_name(request.name)
    _check_lengths(description=request.description, category=request.category, subject=request.subject)
    check_source(request.url)
    options = request.options
    tile_size = options.tile_size or TILE_SIZES[0]
    if tile_size not in TILE_SIZES:
        raise Malformed(f"options.tile_size: must be one of {TILE_SIZES}")
    if options.format not in TILE_FORMATS:
        raise Malformed("options.format: is not a known format")
    if not 0 <= options.quality <= 100:
        raise Malformed("options.quality: must be 1 to 100, or 0 for the default")
    if not 0 <= options.page <= MAX_NUMBER:
        raise Malformed("options.page: must be 0 or more")
    if request.sha256 and not SHA256.fullmatch(request.sha256):
        raise Malformed("sha256: must be 64 lower-case hex digits")
    if len(request.idempotency_key) > MAX_KEY:
        raise Malformed(f"idempotency_key: must have at most {MAX_KEY} characters")
    return catalogue.NewDataset(
        name=request.name,
        description=request.description,
        category=request.category,
        subject=request.subject,
        url=request.url,
        tile_size=tile_size,
        tile_format=TILE_FORMATS[options.format],
        tile_quality=options.quality,
        page=asked_page(options),
        more_options=_more(options),
        sha256=request.sha256,
        reference=check_reference(request.reference),
        more_texts=own_texts.stored(request),
        idempotency_key=request.idempotency_key,
    )


def _more(options: pb.TileOptions) -> str:
    """The options without a column of their own, as JSON; "" if all have their defaults. Checks them."""
    if options.damage not in pb.Damage.values():
        raise Malformed("options.damage: is not a known value")
    try:
        stretch = parse_stretch(options.stretch)
    except ValueError as error:
        raise Malformed(f"options.stretch: {error}") from error
    more = pb.TileOptions(stretch="" if stretch == DEFAULT else str(stretch))
    if options.damage == pb.DAMAGE_ACCEPT:
        more.damage = options.damage
    check_member(options.member, "options.member")
    more.member = options.member
    try:
        more.channels.extend(parse_channels(options.channels))
    except ValueError as error:
        raise Malformed(f"options.channels: {error}") from error
    if options.all_pages and (options.HasField("page") or more.channels):
        raise Malformed("options.all_pages: goes with neither page nor channels")
    more.all_pages = options.all_pages
    return as_json(more)


def inspected(request: pb.CreateInspectionRequest) -> str:
    """The options of an inspection, as JSON; "" if all have their defaults. Checks them."""
    check_member(request.member, "member")
    return as_json(pb.TileOptions(member=request.member))


def check_member(member: str, field: str) -> None:
    """Check the name of an image in an archive. Raises Malformed."""
    if len(member) > MAX_MEMBER:
        raise Malformed(f"{field}: must have at most {MAX_MEMBER:,} characters")


def new_texts(request: pb.UpdateDatasetRequest) -> catalogue.Texts:
    """The texts of a dataset to change, and its source's URL."""
    texts = catalogue.Texts(
        name=request.name if request.HasField("name") else None,
        description=request.description if request.HasField("description") else None,
        category=request.category if request.HasField("category") else None,
        subject=request.subject if request.HasField("subject") else None,
        url=request.url if request.HasField("url") else None,
        reference=check_reference(request.reference) if request.HasField("reference") else None,
        merge=own_texts.change(request),
    )
    if texts.name is not None:
        check_name(texts.name)
    if texts.url is not None:
        check_source(texts.url)
    _check_lengths(**{field: text for field, text in texts.given().items() if text is not None})
    return texts


def page(request: pb.ListDatasetsRequest) -> catalogue.Page:
    """The page of the catalogue to list."""
    if len(request.query) > MAX_QUERY:
        raise Malformed(f"query: must have at most {MAX_QUERY} characters")
    if not re.fullmatch(r"[0-9]{0,18}", request.page_token):
        raise Malformed("page_token: must be a next_page_token of this service")
    if request.sha256 and not SHA256.fullmatch(request.sha256):
        raise Malformed("sha256: must be 64 lower-case hex digits")
    if not STATES.keys() >= set(request.states):
        raise Malformed("states: contains an unknown state")
    return catalogue.Page(
        states=tuple(STATES[state] for state in dict.fromkeys(request.states)),
        category=request.category,
        subject=request.subject,
        size=min(max(request.page_size or DEFAULT_PAGE, 1), MAX_PAGE),
        before=int(request.page_token) if request.page_token else None,
        url=request.url,
        sha256=request.sha256,
        reference=request.reference,
        label_hashes=own_texts.filters(request),
    )


def check_source(url: str) -> None:
    """Check a source's URL."""
    try:
        check_url(url)
    except StageError as error:
        raise Malformed(f"url: {error.message}") from error


def check_reference(reference: str) -> str:
    """Check a client's own id of a dataset, and return it."""
    if len(reference) > MAX_REFERENCE:
        raise Malformed(f"reference: must have at most {MAX_REFERENCE} characters")
    return reference


def check_name(name: str) -> None:
    """Check a dataset's name."""
    if not 1 <= len(name.strip()) <= MAX_NAME:
        raise Malformed(f"name: must have 1 to {MAX_NAME} characters")


def _check_lengths(**texts: str) -> None:
    for field, value in texts.items():
        if len(value) > MAX_LENGTHS.get(field, len(value)):
            raise Malformed(f"{field}: must have at most {MAX_LENGTHS[field]} characters")


def wake_up(message: pb.WakeUp) -> WakeUp:
    """A wake-up."""
    stage = STAGES.get(message.stage)
    if stage is None:
        raise Malformed("stage: is missing or unknown")
    return WakeUp(message.dataset_id, message.attempt, stage)


def check_run_id(run_id: str) -> None:
    """Check a run's id, which becomes part of storage keys."""
    if not RUN_ID.fullmatch(run_id):
        raise Malformed("run_id: must be a UUID in hex")


def check_counts(progress: pb.Progress) -> None:
    """Check a run's progress."""
    counts = (progress.bytes_downloaded, progress.bytes_total, progress.bytes_kept)
    if min(*counts, progress.tiles_done, progress.tiles_total) < 0:
        raise Malformed("progress: counts must not be negative")


def facts(request: pb.ReportProgressRequest) -> Facts:
    """What a heartbeat says about the source and the preview."""
    return Facts(
        _source(request.source) if request.HasField("source") else None,
        _preview(request.preview, request.run_id) if request.HasField("preview") else None,
        rewritten(request),
    )


def rewritten(request: pb.ReportProgressRequest | pb.CompleteStageRequest | pb.FailStageRequest) -> Rewritten | None:
    """What a run says about a rewritten link; None where it says nothing."""
    if not request.HasField("rewritten"):
        return None
    found = request.rewritten
    if not found.url or any(len(text) > MAX_URL_LENGTH for text in (found.rule, found.url, found.note)):
        raise Malformed(f"rewritten: a URL is required, and no text may be longer than {MAX_URL_LENGTH} characters")
    return Rewritten(sentence(found.rule), found.url, sentence(found.note))


def _source(source: pb.SourceInfo) -> SourceInfo:
    if not SOURCE_FORMAT.fullmatch(source.format) or min(source.width, source.height, source.pages + 1) < 1:
        raise Malformed("source: format, width and height are required, and pages must not be negative")
    return SourceInfo(source.format, source.width, source.height, source.pages)


def _preview(preview: pb.Preview, run_id: str) -> Preview:
    if not PREVIEW_KEY.fullmatch(preview.key) or min(preview.width, preview.height) < 1:
        raise Malformed("preview: width, height and a key in the run's build are required")
    if preview.key.split("/")[2] != run_id:
        raise Malformed("preview.key: must be in the run's own build")
    return Preview(preview.key, preview.width, preview.height)


def fetched(result: pb.IngestResult) -> stages.Fetched:
    """A downloaded source."""
    if not SHA256.fullmatch(result.sha256):
        raise Malformed("ingest.sha256: must be 64 lower-case hex digits")
    if result.bytes < 0:
        raise Malformed("ingest.bytes: must not be negative")
    return stages.Fetched(
        result.sha256, result.bytes, result.etag, result.last_modified, result.lost_build, result.unchanged
    )


def built(result: pb.TilerResult) -> stages.Built:
    """A stored build."""
    tile_format = TILE_FORMATS.get(result.format)
    if min(result.width, result.height, result.tile_count, result.bytes) < 1 or not tile_format:
        raise Malformed("tiler: width, height, format, tile_count and bytes are required")
    if len(result.warnings) > MOST_WARNINGS or any(not _is_known(warning) for warning in result.warnings):
        raise Malformed(f"tiler.warnings: must be at most {MOST_WARNINGS}, of known codes, and short")
    warnings = [[warning.code, warning.message] for warning in result.warnings]
    stretch = _stretch(result.stretch) if result.HasField("stretch") else None
    return stages.Built(
        *(result.width, result.height, tile_format, result.tile_count, result.bytes, warnings, stretch),
        channels=_channels(result) or None,
        more=as_json(_more_of_pyramid(result)),
        page=result.page,
    )


def further_pages(result: pb.TilerResult) -> list[stages.Built]:
    """The builds of the pages after the first one."""
    numbers = [result.page, *(page.page for page in result.pages)]
    if not all(0 <= before < after <= MAX_NUMBER for before, after in pairwise([*numbers, MAX_NUMBER])):
        raise Malformed("tiler.page: the numbers of the pages must rise")
    if any(page.pages for page in result.pages):
        raise Malformed("tiler.pages: a page has no pages")
    return [built(page) for page in result.pages]


def _more_of_pyramid(result: pb.TilerResult) -> pb.Pyramid:
    """What has no column of its own, in the fields of a Pyramid."""
    return pb.Pyramid(pixel_size=own_texts.pixel_size(result), georeference=places.built(result))


def _stretch(used: pb.Stretch) -> list[str | float]:
    if not 0 < len(used.rule) <= MAX_LENGTH or not (math.isfinite(used.low) and math.isfinite(used.high)):
        raise Malformed("tiler.stretch: must have a rule, and finite figures")
    return [used.rule, used.low, used.high]


def _channels(result: pb.TilerResult) -> list[list[str | float]]:
    if len(result.channels) > MOST_CHANNELS:
        raise Malformed(f"tiler.channels: must be at most {MOST_CHANNELS}")
    for channel in result.channels:
        if channel.number < 0 or len(channel.name) > MOST_TEXT or not COLOUR.fullmatch(channel.colour):
            raise Malformed("tiler.channels: must have a number, a short name and a colour")
    return [[channel.number, channel.name, channel.colour, *_stretch(channel.stretch)] for channel in result.channels]


def _is_known(warning: pb.Warning) -> bool:
    return warning.code in WARNING_CODES and len(warning.message) <= MOST_WARNING


def failure(request: pb.FailStageRequest) -> Failure:
    """Why a stage failed."""
    if request.failure.code not in DATASET_CODES:
        raise Malformed(f"failure.code: {request.failure.code!r} is not an error code of datasets")
    return Failure(
        code=request.failure.code,
        message=request.failure.message,
        retryable=request.failure.retryable,
        retry_after=max(0.0, request.retry_after_seconds),
        is_refusal=request.refused,
        refused_by=request.refused_by,
    )


def check_token(token: str) -> None:
    """Check a storage's token; "" for none."""
    if token and not TOKEN.fullmatch(token):
        raise Malformed("token: must be 32 lower-case hex digits")
