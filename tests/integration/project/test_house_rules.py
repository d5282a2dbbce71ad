"""What the whole tree holds to: generated code, one-way imports, locks, no registry's name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
PROTO = "protos/tilewright/status/v1/status.proto"
LOCKS = [
    "requirements-bootstrap.lock",
    "requirements-conformance.lock",
    "requirements-dev.lock",
    "requirements-node.lock",
    "requirements.lock",
]

OURS = {"bench", "docs", "gateway", "ingest", "pipeline", "protos", "statussvc", "tests", "tiler", "tilewright", "web"}
SHIPPED = OURS - {"bench", "docs", "tests"}

LATER = {"compression"}
"""What the standard library of a later Python has, and this one may not."""

# Each in two pieces, so that this file holds to the rule as well.
REGISTRIES = ["pypi" + ".org", "pythonhosted" + ".org", "registry." + "npmjs", "npmjs" + ".org", "deb." + "debian"]


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _tracked() -> list[Path]:
    return [ROOT / name for name in _run("git", "ls-files", "-z").split("\0") if name and (ROOT / name).is_file()]


def test_generating_the_protos_anew_changes_nothing(tmp_path: Path) -> None:
    # Given the committed code
    folder = ROOT / Path(PROTO).parent
    committed = {path.name: path.read_text() for path in folder.glob("status_pb2*")}
    # When it is generated into an empty folder
    plugins = [f"--plugin={name}={BIN / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    _run(sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *plugins, *outputs, PROTO)
    # Then every file is the same, to the letter
    generated = {path.name: path.read_text() for path in (tmp_path / Path(PROTO).parent).iterdir()}
    assert sorted(generated) == ["status_pb2.py", "status_pb2.pyi", "status_pb2_grpc.py", "status_pb2_grpc.pyi"]
    assert generated == committed


def test_the_protos_follow_their_style() -> None:
    # Given the protos, when buf looks at them by its STANDARD rules, then it has nothing to say
    assert _run(BIN / "buf", "lint", "protos") == ""


def test_imports_run_one_way() -> None:
    # Given the contracts of pyproject.toml, when import-linter reads every import, then all are kept
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", _run(BIN / "lint-imports", "--no-cache"))


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("gateway.app", ["pyvips", "sqlalchemy"]),
        ("ingest.worker", ["fastapi", "starlette", "sqlalchemy", "pyvips"]),
        ("tiler.worker", ["fastapi", "starlette", "sqlalchemy"]),
        ("statussvc.server", ["fastapi", "starlette", "pyvips"]),
    ],
)
def test_a_service_loads_no_other_services_tools(module: str, never: list[str], tmp_path: Path) -> None:
    # Given a fresh interpreter, when it imports a service
    script = f"import sys, {module}; print(*(name for name in {never!r} if name in sys.modules))"
    # Then none of these was loaded, by whatever way
    assert _run(sys.executable, "-c", script, cwd=tmp_path).strip() == ""


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_address(lock: str) -> None:
    # Given a lock
    text = (ROOT / lock).read_text()
    # When it is read package by package
    packages = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^#.*\n", "", text))
    # Then each is pinned to one version with at least one hash
    for package in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[^ ]+( ;.*)? \\\n    --hash=sha256:[0-9a-f]{64}", package)
    # And nothing says where it comes from
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text


def test_the_locks_satisfy_what_the_project_asks_for() -> None:
    # Given the project's own list
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # When it is held against the locks
    runtime, dev = _locked("requirements.lock"), _locked("requirements-dev.lock")
    # Then each name is locked, and what runs is the same in both
    assert _names(project["dependencies"]) <= runtime.keys()
    for extra in project["optional-dependencies"].values():
        assert _names(extra) <= dev.keys()
    assert runtime.items() <= dev.items()


def _names(requirements: list[str]) -> set[str]:
    return {_canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _locked(lock: str) -> dict[str, str]:
    pinned = re.findall(r"(?m)^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ]+)", (ROOT / lock).read_text())
    return {_canonical(name): version for name, version in pinned}


def test_every_import_is_of_a_package_the_project_asks_for() -> None:
    # Given what pyproject.toml asks for: to run, and to work on it
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    development = _names(extras.pop("dev"))
    # What an extra brings is imported only where it is missing without harm.
    runtime = _names(project["dependencies"]).union(*map(_names, extras.values()))
    anything = runtime | development
    distributions = packages_distributions()
    # When every import of another package is looked up
    astray = []
    for path in _tracked():
        if path.suffix == ".py":
            folder = path.relative_to(ROOT).parts[0]
            allowed = runtime if folder in SHIPPED else anything
            astray += [
                f"{path.relative_to(ROOT)}: {module}"
                for module in _imported(path) - OURS - sys.stdlib_module_names - LATER
                if not {_canonical(name) for name in distributions.get(module, [])} & allowed
            ]
    # Then none lives by another package's dependencies
    assert astray == []


def _imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_no_file_names_a_package_registry() -> None:
    # Given every text file of the tree
    named = []
    for path in _tracked():
        text = path.read_bytes().decode(errors="replace").lower()
        # When one names a registry's host, then it would tie every clone to it
        named += [f"{path.relative_to(ROOT)}: {host}" for host in REGISTRIES if host in text]
    assert named == []


def test_make_alone_shows_what_there_is() -> None:
    # Given no target, when make is called, then it lists each target that a person may want
    listed = set(re.findall(r"(?m)^  make ([a-z-]+) +\S", _run("make")))
    assert {"setup", "demo", "test", "lint", "format", "protos", "up", "bench", "help"} <= listed
