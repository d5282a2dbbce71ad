"""IIIF Image API 3.0 level 0 as its two validators see it: their own test image, tiled and served by a real stack."""

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


def test_the_iiif_validator_has_nothing_to_complain_of(stack: LaunchedStack, tile_id: str) -> None:
    # When the validator of the IIIF consortium runs all tests of level 0, and those of what info.json claims besides
    server = stack.url.removeprefix("http://")
    common = ["-s", server, "-p", "iiif", "-i", tile_id, "--version", "3.0"]
    done = conformance.run(conformance.FOLDER / "bin/iiif-validate.py", *common, "--level", "0")
    extra = ["cors", "jsonld", "baseurl_redirect", "linkheader_profile"]
    more = conformance.run(
        conformance.FOLDER / "bin/iiif-validate.py", *common, *(word for name in extra for word in ("--test", name))
    )

    # Then all pass
    assert "Done (5 tests, 0 failures)" in done.stderr, done.stderr
    assert f"Done ({len(extra)} tests, 0 failures)" in more.stderr, more.stderr


def test_nor_of_version_2(stack: LaunchedStack, tile_id: str) -> None:
    server = stack.url.removeprefix("http://")
    common = ["-s", server, "-p", "iiif/2", "-i", tile_id, "--version", "2.0"]
    done = conformance.run(conformance.FOLDER / "bin/iiif-validate.py", *common, "--level", "0")
    extra = ["cors", "jsonld", "baseurl_redirect", "linkheader_profile"]
    more = conformance.run(
        conformance.FOLDER / "bin/iiif-validate.py", *common, *(word for name in extra for word in ("--test", name))
    )
    assert re.search(r"Done \([1-9] tests, 0 failures\)", done.stderr), done.stderr
    assert f"Done ({len(extra)} tests, 0 failures)" in more.stderr, more.stderr


def test_its_successor_has_nothing_to_complain_of(
    stack: LaunchedStack, tile_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the tests that apply: of level 0, of the features that info.json names, and of caching. Its own command
    # picks them in the same way, but needs Python 3.12
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = TargetServer(f"{stack.url}/iiif", validation_id=tile_id, version=IIIFVersion.V3)
    features = server.feature_set()
    assert features.supports_caching

    def applies(test: Any) -> bool:
        level = test.compliance_level
        level = level[IIIFVersion.V3] if isinstance(level, dict) else level
        names = [test.extra_name] if isinstance(test.extra_name, str) else test.extra_name or []
        return level <= features.compliance_level or bool(set(names) & set(features.extra_features))

    tests = [test for test in get_tests(IIIFVersion.V3) if test is HttpCachingTest or applies(test)]
    assert {test.__name__ for test in tests} == {
        "BaseUrlRedirect",
        "CorsImageTest",
        "FormatJPEG",
        "FullImageMatches",
        "HttpCachingTest",
        "ImageReturned",
        "ImagesHaveProfileLinkHeader",
        "InfoHasJsonLdTypeWhenRequested",
        "SizeNoFullTest",
        "TestInfoJsonStructure",
    }

    # When they are run, then none fails
    results = []
    for test in tests:
        found = test.run(server)
        results += found if isinstance(found, list) else [found]
    assert [result for result in results if isinstance(result, ValidationFailure)] == []
    assert len(results) > len(tests)


def test_the_validators_would_notice(stack: LaunchedStack, tile_id: str) -> None:
    # Given a test of what level 0 does not ask for, when the validator runs it, then it fails: it does look
    done = conformance.run(
        conformance.FOLDER / "bin/iiif-validate.py",
        *("-s", stack.url.removeprefix("http://"), "-p", "iiif", "-i", tile_id, "--version", "3.0"),
        *("--test", "rot_full_basic"),
    )
    assert re.search(r"Done \(1 tests, 1 failures\)", done.stderr)
