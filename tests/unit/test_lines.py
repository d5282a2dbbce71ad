"""The lines of a confined child and its parent: what is said is heard alike, and what is none is refused."""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.formats.probe import protocol as probe_job
from pipeline.sandbox.lines import MOST_NUMBER, Codec
from tiler import job

REPORTS: list[Codec[Any]] = [probe_job.REPORTS, job.REPORTS]

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-MOST_NUMBER, MOST_NUMBER),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: st.text(),  # with halves of characters: a path may hold bytes that are no UTF-8
}
KINDS: list[tuple[Codec[Any], list[type[Any]]]] = [
    (probe_job.JOBS, [probe_job.Job]),
    (probe_job.REPORTS, [probe_job.Read, probe_job.Found, probe_job.Failed, probe_job.Unknown]),
    (job.JOBS, [job.Job]),
    (job.REPORTS, [job.Opened, job.Previewed, job.Progress, job.Built, job.Failed]),
]


def of_type(wanted: Any) -> st.SearchStrategy[Any]:
    """All values of a field's type."""
    if wanted in VALUES:
        return VALUES[wanted]
    inner = [one for one in get_args(wanted) if one not in (type(None), ...)]
    if get_origin(wanted) is tuple:
        return st.lists(of_type(*inner)).map(tuple)
    return st.none() | of_type(*inner)


said: list[tuple[Codec[Any], st.SearchStrategy[Any]]] = [
    (codec, st.builds(kind, **{field: of_type(wanted) for field, wanted in get_type_hints(kind).items()}))
    for codec, kinds in KINDS
    for kind in kinds
]


def test_every_line_is_tried() -> None:
    assert all(set(kinds) == set(codec._names) for codec, kinds in KINDS)


@given(st.one_of(*(st.tuples(st.just(codec), things) for codec, things in said)))
def test_what_is_said_is_one_line_and_is_heard_alike(case: tuple[Codec[Any], Any]) -> None:
    codec, thing = case
    line = codec.encode(thing)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    heard = codec.decode(line)
    assert heard == thing
    assert [type(value) for value in heard] == [type(value) for value in thing]
    assert type(heard) is type(thing)


def test_a_share_may_come_as_a_whole_number_and_is_a_float() -> None:
    heard = job.REPORTS.decode(b'{"progress": {"tiles_done": 1, "tiles_total": 2, "percent": 50}}')
    assert heard == job.Progress(1, 2, 50.0)
    assert type(heard[2]) is float


def test_what_a_job_leaves_out_has_its_default() -> None:
    heard = probe_job.JOBS.decode(b'{"job": {"length": null, "page": 0, "min_libvips": "8.18.3"}}')
    assert heard == probe_job.Job(None, 0, "8.18.3", ())


@pytest.mark.parametrize("codec", REPORTS)
@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\n", b"{", b"[]", b"{}", b"1", b"null", b'"failed"', b"\xff", b"\xff\xfe{\x00}"),
        *(b'{"failed": {}}', b'{"failed": 1}', b'{"failed": null}', b'{"failed": []}', b'{"failed": [["code", "a"]]}'),
        *(b'{"other": {}}', b'{"failed": {"code": "a", "message": "b"}, "unknown": {}}'),
        b'{"failed": {"code": "a", "message": "b", "more": "c"}}',
        b'{"failed": {"_cls": "a", "code": "a", "message": "b"}}',
        b'{"failed": {"code": ["a"], "message": "b"}}',
        b'{"failed": {"code": {"a": 1}, "message": "b"}}',
        b'{"failed": {"code": null, "message": "b"}}',
        b"[" * 60_000,
        b'{"failed":' * 6_000,
        b'{"failed": {"code": "a", "message": ' + b"9" * 60_000 + b"}}",
    ],
)
def test_what_is_no_report_is_refused(codec: Codec[Any], line: bytes) -> None:
    with pytest.raises(ValueError, match="not a report: "):
        codec.decode(line)


NO_NUMBERS = [
    *("true", '"1"', "null", "[1]", "{}"),
    *("NaN", "Infinity", "-Infinity", "1e999"),
]
NO_INTEGERS = ["1.0", "1e2", "-0.0", "9223372036854775808", "-1e19"]


@pytest.mark.parametrize("value", [*NO_NUMBERS, *NO_INTEGERS, "9" * 4000, "9" * 5000])
def test_what_is_no_whole_number_is_refused_for_one(value: str) -> None:
    for codec, line in (
        (job.REPORTS, f'{{"previewed": {{"width": 1, "height": {value}}}}}'),
        (job.REPORTS, f'{{"progress": {{"tiles_done": {value}, "tiles_total": 1, "percent": 1.0}}}}'),
        (probe_job.REPORTS, f'{{"read": {{"offset": {value}, "length": 1}}}}'),
    ):
        with pytest.raises(ValueError, match="not a report: "):
            codec.decode(line.encode())


@pytest.mark.parametrize("value", [*NO_NUMBERS, "9" * 4000])
def test_what_is_no_number_is_refused_for_a_share(value: str) -> None:
    line = f'{{"progress": {{"tiles_done": 0, "tiles_total": 1, "percent": {value}}}}}'
    with pytest.raises(ValueError, match="not a report: "):
        job.REPORTS.decode(line.encode())


@pytest.mark.parametrize("value", [-(2.0**63), 3.4e38, -1.7e308])
def test_a_sample_may_be_any_finite_number(value: float) -> None:
    built = job.Built(1, 1, "jpg", 1, 1, (), (), "range", value, 1.0)
    assert job.REPORTS.decode(job.REPORTS.encode(built)) == built


@pytest.mark.parametrize(
    "wrong",
    [
        *({"preview": 1}, {"preview": "yes"}, {"room": True}, {"room": "1"}, {"room": 1.5}, {"quality": None}),
        *({"untrusted": "svg"}, {"untrusted": [1]}, {"untrusted": [["a"]]}, {"untrusted": None}),
    ],
)
def test_a_job_is_held_to_its_types_too(wrong: dict[str, Any]) -> None:
    right = job.Job("source", "scratch", "t" * 64, "s" * 64, 256, 1, "8.18.3")._asdict()
    with pytest.raises(ValueError, match="not a job: "):
        job.JOBS.decode(json.dumps({"job": right | wrong}).encode())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
kinds = st.sampled_from(["opened", "previewed", "progress", "built", "failed", "read", "found", "unknown", "other"])
names = st.sampled_from(
    [
        *("format", "width", "height", "pages", "tiles_done", "tiles_total", "percent", "extension", "tile_count"),
        *("size", "code", "message", "offset", "length", "memory", "self", "_cls"),
    ]
)
shaped = st.dictionaries(kinds, st.dictionaries(names, values) | values, max_size=2)


@given(st.binary() | (shaped | values).map(lambda value: json.dumps(value).encode()))
@example(b'{"previewed": {"width": 1e0, "height": 1}}')
def test_rubbish_is_refused_as_no_report_or_heard_in_its_types(line: bytes) -> None:
    for codec in REPORTS:
        try:
            heard = codec.decode(line)
        except ValueError:
            continue
        assert codec.decode(codec.encode(heard)) == heard
        assert all(type(value) in (int, float, str) for value in heard)
