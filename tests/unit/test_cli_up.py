"""What `tilewright up` makes of its options and environment, before anything is started."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.channels import bracketed, reachable
from tilewright.embedded.up import StackSettings, UpOptions, WrongOption


def options(data: Path, *allow_sources: str, host: str = "127.0.0.1") -> UpOptions:
    return UpOptions(host=host, port=0, grpc_port=0, data=data, allow_sources=allow_sources)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TILEWRIGHT_ALLOW_SOURCES", "TILEWRIGHT_STORAGE", "TILEWRIGHT_DATABASE_URL", "TILEWRIGHT_MAX_PIXELS"):
        monkeypatch.delenv(name, raising=False)


def test_a_storage_is_adopted_only_where_that_was_asked_for(tmp_path: Path) -> None:
    asked = dataclasses.replace(options(tmp_path), adopt_storage=True)
    assert StackSettings.of(asked).gateway.adopt_storage
    assert not StackSettings.of(options(tmp_path)).gateway.adopt_storage


def test_all_lies_in_the_data_directory_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an environment made for the farm
    monkeypatch.setenv("TILEWRIGHT_STORAGE", "/var/lib/elsewhere")
    monkeypatch.setenv("TILEWRIGHT_DATABASE_URL", "postgresql+psycopg://tilewright@db/tilewright")

    # When the embedded stack reads its settings
    settings = StackSettings.of(options(tmp_path))

    # Then its parts still share the one directory
    storages = {settings.gateway.storage, settings.ingest.storage, settings.tiler.storage}
    assert storages == {tmp_path / "storage"}
    assert settings.status.database_url == f"sqlite:///{tmp_path / 'tilewright.sqlite3'}"
    assert settings.status.abandon_runs == "expired"
    assert StackSettings.of(options(tmp_path), blame=False).status.abandon_runs == "released"


def test_options_add_to_the_sources_that_the_environment_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILEWRIGHT_ALLOW_SOURCES", "nas.example, 10.0.0.0/8")
    settings = StackSettings.of(options(tmp_path, "10.0.0.0/8", "127.0.0.1:8080"))
    assert settings.ingest.allow_sources == ("nas.example", "10.0.0.0/8", "127.0.0.1:8080")
    assert settings.gateway.allow_sources == settings.ingest.allow_sources


def test_other_settings_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_MAX_PIXELS", "1000")
    assert StackSettings.of(options(tmp_path)).tiler.max_pixels == 1000


def test_a_source_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(WrongOption, match=r"10\.0\.0\.1/8") as wrong:
        StackSettings.of(options(tmp_path, "10.0.0.1/8"))
    assert wrong.value.exit_code == 2


def test_a_variable_that_cannot_be_read_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_MAX_PIXELS", "many")
    with pytest.raises(WrongOption, match="max_pixels"):
        StackSettings.of(options(tmp_path))


@pytest.mark.parametrize(
    ("host", "shown", "reached"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),  # noqa: S104  compared, not bound
        ("::", "[::]", "[::1]"),
        ("::1", "[::1]", "[::1]"),
        ("here.example", "here.example", "here.example"),
    ],
)
def test_a_host_is_shown_as_given_and_reached_by_an_address_that_works(host: str, shown: str, reached: str) -> None:
    assert (bracketed(host), reachable(host)) == (shown, reached)
