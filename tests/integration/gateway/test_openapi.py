"""The OpenAPI document: valid, true to what is answered, and with an example of every error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.strategies import SearchStrategy
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gateway.http.problems import STATUS_OF_CODE
from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway

BOUNDED = settings(
    max_examples=25,  # for each operation and kind: some ten seconds in all
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with (
        status_rig.running(f"sqlite:///{folder / 'rows.sqlite3'}") as status,
        gateway_rig.serving(status.address, folder / "storage", max_wait=0) as rig,
    ):
        yield rig


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> dict[str, Any]:
    answer: dict[str, Any] = gateway.get("/openapi.json").json()
    return answer


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation with its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_the_api_page_has_every_route_and_no_other(document: dict[str, Any]) -> None:
    page = Path(__file__).parents[3] / "docs" / "api.md"
    found = set(re.findall(r"^### `([A-Z]+ /\S+)`$", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert found == {name for name, _ in operations(document)}


def test_the_documented_operations_are_the_contracts(document: dict[str, Any]) -> None:
    assert sorted(name for name, _ in operations(document)) == [
        "DELETE /api/datasets/{dataset_id}",
        "GET /api/datasets",
        "GET /api/datasets/{dataset_id}",
        "GET /api/datasets/{dataset_id}/preview",
        "GET /api/datasets/{dataset_id}/status",
        "GET /api/datasets/{dataset_id}/versions",
        "GET /api/inspections/{inspection_id}",
        "GET /healthz",
        "GET /iiif/activity/all-changes",
        "GET /iiif/activity/page-{number}",
        "GET /iiif/collections/all",
        "GET /iiif/collections/tag/{name}",
        "GET /readyz",
        "PATCH /api/datasets/{dataset_id}",
        "POST /api/datasets",
        "POST /api/datasets/{dataset_id}/cancel",
        "POST /api/datasets/{dataset_id}/refresh",
        "POST /api/datasets/{dataset_id}/retry",
        "POST /api/inspections",
    ]


def test_frameworks_own_shapes_never_show(document: dict[str, Any]) -> None:
    assert "ValidationError" not in str(document)
    assert {"Dataset", "Working", "Ready", "Failed", "Problem", "FieldProblem"} <= set(
        document["components"]["schemas"]
    )


def test_every_error_has_an_example_that_is_a_problem(document: dict[str, Any]) -> None:
    problem = Draft202012Validator({"$ref": "#/components/schemas/Problem", "components": document["components"]})
    shown: set[str] = set()
    for name, operation in operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        if name != "GET /healthz":
            assert {"500", "503"} <= set(errors), name
        for status, answer in errors.items():
            for code, example in answer["content"]["application/problem+json"]["examples"].items():
                problem.validate(example["value"])
                assert (example["value"]["code"], str(example["value"]["status"])) == (code, status)
                shown.add(code)
    # What the web framework answers by itself belongs to no operation,
    # nor do the addresses of tiles.
    assert shown == set(STATUS_OF_CODE) - {"method_not_allowed", "not_ready", "deleted"}


def test_every_success_has_an_example(document: dict[str, Any]) -> None:
    models = document["components"]["schemas"]
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status in ("204", "304") or status >= "400":
                continue
            if "image/jpeg" in answer["content"]:
                continue
            schema = answer["content"]["application/json"]["schema"]
            for part in schema.get("anyOf", [schema]):
                assert models[part["$ref"].rsplit("/", 1)[1]]["examples"], name


def strategies(gateway: Gateway) -> Iterator[SearchStrategy[Any]]:
    """Requests made from the document: right ones for each operation, and wrong ones where one can be wrong."""
    for result in schemathesis.openapi.from_url(f"{gateway.url}/openapi.json").get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # a document that cannot be read fails here
        yield operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
        if operation.body or operation.query:
            yield operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)


def test_what_is_answered_is_what_is_documented(gateway: Gateway) -> None:
    answered: set[int] = set()

    def ask(case: Any) -> None:
        # In a query, one text looks like a list of it: it is no wrong value of a list.
        assume(not isinstance((case.query or {}).get("tag"), str | int | float))
        # A URL that fits the schema may still lead nowhere public, so right data may be refused.
        response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
        answered.add(response.status_code)

    for cases in strategies(gateway):
        BOUNDED(given(cases)(ask))()
    # Then the document's own answers have been seen, and none of the gateway's failures
    assert {200, 202, 404, 422} <= answered
    assert not {status for status in answered if status >= 500}
