"""IIIF Image API 3.0 and 2.1, level 2, as their validators see them: their own test image, served by a real stack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from typing import Any

import pytest
from iiif_validator.tests.http_caching import HttpCachingTest  # type: ignore[import-untyped]  # it ships no types
from iiif_validator.tests.test import (  # type: ignore[import-untyped]
    IIIFVersion,
    TargetServer,
    ValidationFailure,
    get_tests,
)

from tests.acceptance.jobs import ready, submit
from tests.support.network.answers import status
from tests.support.network.sources import SourceServer
from tests.support.rigs import conformance
from tilewright.client import Client
from tilewright.embedded import LaunchedStack


@pytest.fixture(scope="module")
def tile_id(stack: LaunchedStack, sources: SourceServer) -> Iterator[str]:
    """The validators' image: a hundred squares of 100 x 100 pixels, each of its own colour."""
    image = (files("iiif_validator") / "validation_image.png").read_bytes()
    url = sources.on("/iiif-validation.png", status(200, data=image))
    with closing(Client(stack.url)) as client:
        dataset_id = submit(client, url)
        yield ready(client, dataset_id)["tile_id"]
        client.delete(dataset_id)


OVERSTATED = {"!2000,3000"}
"""A size of version 3 that both validators want refused for an image of 1,000 x 1,000 pixels. By the Image API 3.0
(section 4.2) the result is "as large as possible but not larger than the extracted region": ruven/iipsrv, issue 271."""

UNLIMITED = {"SizeUpTest"}
"""A test of version 3 whose `^max` takes a server for one without maxArea. It crashes where it would report this."""


@pytest.mark.parametrize(
    ("prefix", "version", "failures"),
    [("iiif", "3.0", ["size_noup"]), ("iiif/3", "3.0", ["size_noup"]), ("iiif/2", "2.0", [])],
)
def test_the_iiif_validator_has_nothing_to_complain_of(
    stack: LaunchedStack, tile_id: str, prefix: str, version: str, failures: list[str]
) -> None:
    # When the validator of the IIIF consortium runs all tests of level 2, and those of what info.json claims besides
    server = stack.url.removeprefix("http://")
    common = ["-s", server, "-p", prefix, "-i", tile_id, "--version", version]
    done = conformance.run(conformance.FOLDER / "bin/iiif-validate.py", *common, "--level", "2")
    extra = ["cors", "jsonld", "baseurl_redirect", "linkheader_profile", "rot_mirror", "rot_mirror_180"]
    more = conformance.run(
        conformance.FOLDER / "bin/iiif-validate.py", *common, *(word for name in extra for word in ("--test", name))
    )

    # Then all pass, but that of the size that it takes for enlarged: see OVERSTATED
    assert re.findall(r"test (\w+) FAIL", done.stderr) == failures, done.stderr
    assert re.search(rf"Done \((2[5-9]|3[0-9]) tests, {len(failures)} failures\)", done.stderr), done.stderr
    assert f"Done ({len(extra)} tests, 0 failures)" in more.stderr, more.stderr


@pytest.mark.parametrize("version", [IIIFVersion.V2, IIIFVersion.V3])
def test_its_successor_has_nothing_to_complain_of(
    stack: LaunchedStack, tile_id: str, monkeypatch: pytest.MonkeyPatch, version: IIIFVersion
) -> None:
    # Given the tests that apply: up to level 2, of the features that info.json names, and of caching. Its own command
    # picks them in the same way, but needs Python 3.12
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    prefix = "iiif/2" if version is IIIFVersion.V2 else "iiif"
    server = TargetServer(f"{stack.url}/{prefix}", validation_id=tile_id, version=version)
    features = server.feature_set()
    assert features.supports_caching
    assert features.compliance_level == 2

    def applies(test: Any) -> bool:
        level = test.compliance_level
        level = level[version] if isinstance(level, dict) else level
        names = [test.extra_name] if isinstance(test.extra_name, str) else test.extra_name or []
        return level <= features.compliance_level or bool(set(names) & set(features.extra_features))

    left_out = UNLIMITED if version is IIIFVersion.V3 else set()
    tests = [test for test in get_tests(version) if test is HttpCachingTest or applies(test)]
    tests = [test for test in tests if test.__name__ not in left_out]
    assert len(tests) >= 30
    assert "RotationMirrorTest" in {test.__name__ for test in tests}

    # When they are run, then none fails
    results = []
    for test in tests:
        found = test.run(server)
        results += found if isinstance(found, list) else [found]
    failures = [result for result in results if isinstance(result, ValidationFailure)]
    assert [failure for failure in failures if failure.url.split("/")[-3] not in OVERSTATED] == []
    assert len(results) > len(tests)


def test_the_validators_would_notice(stack: LaunchedStack, tile_id: str) -> None:
    # Given a test of what level 2 does not ask for, when the validator runs it, then it fails: it does look
    done = conformance.run(
        conformance.FOLDER / "bin/iiif-validate.py",
        *("-s", stack.url.removeprefix("http://"), "-p", "iiif", "-i", tile_id, "--version", "3.0"),
        *("--test", "rot_region_non90"),
    )
    assert re.search(r"Done \(1 tests, 1 failures\)", done.stderr)
