"""All errors that Tilewright raises, and the table of error codes.

    TilewrightError
    ├── StageError           a stage cannot produce its result; has a code of DATASET_CODES
    ├── Stopped              a run was told to stop; nothing is wrong with the dataset
    ├── StatusUnavailable    statussvc cannot be reached
    │   └── TooBusy          too many calls are under way
    ├── SearchTooSlow        a search took longer than allowed
    ├── RegionsBusy          too many regions of images are being made
    ├── NotFound             no such dataset or pyramid
    ├── Conflict             the dataset's current state does not allow the change
    ├── UnknownStage         a wake-up names a stage that this version does not have
    └── StorageError         the storage cannot be read or written
        ├── ObjectMissing    nothing is stored at the key
        └── StorageLost      the directory is gone, or is not the one that the database knows

Codes are stable, because clients branch on them. `make docs` writes `docs/errors.md` from CODES.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """What an error code means, and what a person can do about it.

    Parameters
    ----------
    retryable: whether submitting the same source again can succeed without a change by the user.
    meaning: one sentence, for the docs and for the title of a problem document.
    advice: one sentence that says what to do.
    """

    retryable: bool
    meaning: str
    advice: str


DATASET_CODES: dict[str, Code] = {
    "source_not_found": Code(
        False,
        "The source's server has no file at this URL.",
        "Open the URL in a browser and check it.",
    ),
    "source_forbidden": Code(
        False,
        "The source's server refuses access to this URL.",
        "Make the file readable without signing in, or give another URL.",
    ),
    "source_expired": Code(
        False,
        "The link to the source expired during the download.",
        "Retry with a new `url` of the same file: the download goes on where it stopped.",
    ),
    "source_refused": Code(False, "The source's server answered with a permanent error.", "Try the URL in a browser."),
    "source_forbidden_address": Code(
        False,
        "The URL leads to a private, loopback or otherwise reserved address.",
        "Use a public URL, or have the operator allow the host: --allow-source, TILEWRIGHT_ALLOW_SOURCES.",
    ),
    "source_invalid_url": Code(
        False,
        "The URL cannot be fetched.",
        "Use http or https, an allowed port, and no user name or password.",
    ),
    "source_unresolvable": Code(
        True, "The host's name could not be resolved to an address.", "Check the host's spelling; retry if it is right."
    ),
    "source_unreachable": Code(
        True, "The source's server could not be reached.", "Check that the server is up, then retry."
    ),
    "source_unavailable": Code(True, "The source's server is overloaded or temporarily unavailable.", "Retry later."),
    "source_pending": Code(
        True,
        "The source's server has to fetch the file first, as from a tape archive.",
        "Wait: the server is asked again, for two days.",
    ),
    "source_timeout": Code(True, "The source's server took too long to answer or to send.", "Retry later."),
    "source_incomplete": Code(
        True, "The connection ended before the whole file had arrived.", "Retry; if it happens again, check the server."
    ),
    "source_protocol_error": Code(
        True,
        "The source's server sent an invalid HTTP response.",
        "Retry if a proxy may be to blame, or use another server.",
    ),
    "source_too_many_redirects": Code(False, "The URL redirects too many times.", "Use the URL of the file itself."),
    "source_too_large": Code(
        False,
        "The file is larger than this installation accepts.",
        "Have the operator raise TILEWRIGHT_MAX_SOURCE_BYTES.",
    ),
    "source_corrupted": Code(
        True,
        "The downloaded file does not match a checksum from its server or from the request.",
        "Retry; if it happens again, check the file and your `sha256`.",
    ),
    "source_too_slow": Code(
        True,
        "The source's server sent too slowly.",
        "Retry later; the download resumes where it stopped, if the server supports that.",
    ),
    "source_missing": Code(True, "The stored original is gone.", "Retry: it is downloaded again."),
    "not_an_image": Code(
        False, "The URL does not lead to an image.", "Use the URL of the image file, not that of a page that shows it."
    ),
    "unsupported_format": Code(
        False, "Tilewright cannot read this image format.", "Convert it to JPEG, PNG, TIFF, WebP, GIF or HEIF/AVIF."
    ),
    "image_truncated": Code(
        False,
        "The image file ends before the picture does.",
        "Upload the file to its source again, then retry.",
    ),
    "image_corrupt": Code(
        False, "The image file is damaged.", "Open it in another program, save it again, then retry."
    ),
    "page_not_found": Code(
        False, "The file does not have the requested page.", "Pages are counted from 0: give a lower number."
    ),
    "too_many_pages": Code(
        False,
        "The file has more pages than this installation shows of one file.",
        "Leave out `pages`, or give one `page`. Or have the operator raise the limit.",
    ),
    "channel_not_found": Code(
        False,
        "The image does not have the requested channel.",
        "The message lists the channels: give a number from 0, or a name.",
    ),
    "member_not_found": Code(
        False,
        "The archive does not have the requested image, or has several and none was requested.",
        "Give `member`, the name of the image in the ZIP archive.",
    ),
    "image_too_large": Code(
        False,
        "The image has more pixels, or needs more memory to decode, than this installation accepts.",
        "See the limit in the message: save the image differently, or have the operator raise the limit.",
    ),
    "decoder_crashed": Code(
        False, "The decoder crashed on this file.", "The file is probably damaged: save it again with another program."
    ),
    "decoder_too_slow": Code(
        False,
        "Decoding the file takes more work than its format and size allow.",
        "The file is probably damaged: save it again with another program.",
    ),
    "out_of_memory": Code(
        True,
        "The image needs more memory to decode than a worker may use.",
        "Save it as a tiled TIFF or baseline JPEG.",
    ),
    "storage_unavailable": Code(
        True, "The storage could not be read or written.", "Have the operator check the storage, then retry."
    ),
    "out_of_disk": Code(True, "The storage is full.", "Free space or enlarge the volume, then retry."),
    "stalled": Code(
        True, "The job made no progress for too long.", "Retry; if it happens again, check the worker's log."
    ),
    "worker_died": Code(
        True, "The worker died several times while processing this dataset.", "Check the workers' logs, then retry."
    ),
    "internal_error": Code(True, "Something went wrong inside Tilewright.", "Check the worker's log, then retry."),
    "cancelled": Code(True, "The dataset was cancelled on request.", "Retry the dataset to continue."),
}
"""Codes of failed datasets."""

WARNING_CODES: dict[str, str] = {
    "image_incomplete": "Parts of a damaged image could not be decoded. They are transparent or grey.",
    "image_coarse": "The last scans of a progressive JPEG are missing or damaged, so the image is less sharp.",
    "bytes_ignored": "Bytes of the file that belong to no part of the image were ignored.",
    "metadata_ignored": "Metadata that would change what is shown, such as a colour profile, is unusable.",
    "page_chosen": "The file has several pages or images, and one of them was chosen.",
    "channels_chosen": "The file is a stack, and `channels` was not given: some channels at one z and t were chosen.",
    "refresh_failed": "A refresh could not use the source. An earlier image is shown.",
    "decoder_remark": "The decoder remarked on the file, but not on the pixels that are shown.",
}
"""Codes of warnings: what is to know about a dataset that is ready."""

MOST_WARNINGS, MOST_WARNING = 20, 500
"""Most warnings of one pyramid, and the most characters of the message of one."""

REQUEST_CODES: dict[str, Code] = {
    "invalid_request": Code(False, "The request is invalid.", "See `errors` for each field."),
    "not_found": Code(False, "There is nothing at this address.", "Check the id; the dataset may have been deleted."),
    "not_ready": Code(
        True, "The dataset has no tiles yet.", "Poll its status, and ask again after the time in Retry-After."
    ),
    "deleted": Code(False, "The dataset was deleted.", "Submit its source again: that gives a new id."),
    "method_not_allowed": Code(False, "This address does not support that method.", "See the Allow header."),
    "conflict": Code(False, "The dataset's current state does not allow this.", "Check its status first."),
    "idempotency_key_reused": Code(
        False, "This Idempotency-Key was used with another body.", "Use a new key for a new request."
    ),
    "forbidden_origin": Code(
        False,
        "Pages of other origins may not change anything.",
        "Have the operator add the page's origin to TILEWRIGHT_ALLOWED_ORIGINS.",
    ),
    "wrong_host": Code(
        False,
        "The request is meant for another host.",
        "Use the gateway's own name; the operator can allow others in TILEWRIGHT_ALLOWED_HOSTS.",
    ),
    "service_unavailable": Code(
        True, "Part of the service is temporarily unavailable.", "Repeat the request after Retry-After seconds."
    ),
    "search_too_slow": Code(
        True,
        "The search took too long.",
        "Search for a longer or rarer text of at least three characters, or filter by status, category or subject.",
    ),
    "unexpected_error": Code(True, "Something went wrong inside the gateway.", "Report it with its request_id."),
}
"""Codes of requests that were refused."""

BAD_SOURCE = frozenset({"image_corrupt", "image_truncated", "not_an_image", "unsupported_format"})
"""Codes that blame the stored file: a retry downloads the source again, because it may have been repaired."""

URL_FAULTS = frozenset(
    {
        "source_not_found",
        "source_forbidden",
        "source_refused",
        "source_forbidden_address",
        "source_invalid_url",
        "source_unresolvable",
        "source_unreachable",
        "source_unavailable",
        "source_timeout",
        "source_incomplete",
        "source_protocol_error",
        "source_too_many_redirects",
        "source_too_large",
        "source_too_slow",
        "not_an_image",
    }
)
"""Codes of failed downloads that depend on the URL only, and so concern all datasets that wait for the same download.

Others depend on what was asked for, such as a page or a SHA-256, or on this installation."""

CODES: dict[str, Code] = DATASET_CODES | REQUEST_CODES


class TilewrightError(Exception):
    """Base of all errors that this project raises."""


class StageError(TilewrightError):
    """Raised when a stage cannot produce its result.

    Parameters
    ----------
    code: a key of DATASET_CODES.
    message: a sentence for the person who submitted the dataset.
    retryable: whether statussvc should retry the stage; default: as the code's row says.
    retry_after: seconds that the source's server asked to wait; None if it did not ask.
    refused_by: the host that refused another connection; "" if none did.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        refused_by: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = DATASET_CODES[code].retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.refused_by = refused_by

    @property
    def refused(self) -> bool:
        """Whether a source's server refused another connection."""
        return bool(self.refused_by)

    def copy(self, message: str = "") -> StageError:
        """Return a new error that says the same, or the same by another message, without traceback and cause."""
        return StageError(
            self.code,
            message or self.message,
            retryable=self.retryable,
            retry_after=self.retry_after,
            refused_by=self.refused_by,
        )


class Stopped(TilewrightError):
    """Raised inside a stage whose run was told to stop."""


class StatusUnavailable(TilewrightError):
    """Raised when statussvc, or the database behind it, cannot be reached."""


class TooBusy(StatusUnavailable):
    """Raised when a call is refused because too many are under way."""


class SearchTooSlow(TilewrightError):
    """Raised when a search took longer than allowed."""


class RegionsBusy(TilewrightError):
    """Raised when too many regions of images are being made, or one took too long."""


class NotFound(TilewrightError):
    """Raised when no dataset or pyramid has the given id."""


class Conflict(TilewrightError):
    """Raised when the dataset's current state does not allow the requested change."""


class UnknownStage(TilewrightError):
    """Raised when a wake-up names a stage that this version does not have, because a newer service sent it."""


class StorageError(TilewrightError):
    """Raised when the storage cannot be read or written."""


class StorageLost(StorageError):
    """Raised when the storage's directory is gone or belongs to another database. The message says what to do."""


class ObjectMissing(StorageError):
    """Raised when nothing is stored at the key."""
