"""What people install: the sdist, the wheel built from it, the editable wheel; all made here without an index."""

from __future__ import annotations

import configparser
import json
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from installing import MISSING, ROOT, copy_checkout, install, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}"),
    pytest.mark.full,
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("packaging") / "checkout")


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory) -> tuple[Path, Path]:
    """The sdist of the checkout and the wheel that was built from the sdist."""
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, cwd=checkout)
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The bin/ of a fresh venv with the wheel; dependencies are those of the tests' own environment."""
    return install(built[1], tmp_path_factory.mktemp("installed") / "venv")


def test_wheel_holds_the_packages_the_ready_made_stages_and_no_tests(built) -> None:
    names = zipfile.ZipFile(built[1]).namelist()
    tops = {name.split("/")[0] for name in names}
    packages = {"runner", "pytest_offpipe"} if (ROOT / "pytest_offpipe").exists() else {"runner"}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages
    stages = {f"runner/stages/{path.name}" for path in (ROOT / "stages").glob("*.py")}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "runner").rglob("*")
        if path.suffix in {".py", ".typed", ".html", ".css", ".svg", ".txt"}
    }
    assert {name for name in names if name.startswith("runner/")} == stages | sources
    assert {"runner/py.typed", "runner/extras/report/templates/page.html"} <= {*names}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_sdist_holds_what_the_wheel_and_the_tests_need(built) -> None:
    names = {name.partition("/")[2] for name in tarfile.open(built[0]).getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "scripts/setup.sh",
        "runner/__init__.py",
        "pipelines/demo.json",
    } <= names
    assert {"tests/test_packaging.py", "conftest.py", "run_tests.sh", "data/input/2-crlf.txt"} <= names
    assert {"examples/downstream/pyproject.toml", "examples/downstream/station/clean.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "state/", "data/work/")) or "__pycache__" in name]


def test_metadata_declares_python_dependencies_and_license(built) -> None:
    archive = zipfile.ZipFile(built[1])
    (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    lines = archive.read(name).decode().splitlines()
    assert {"Name: pytest-offpipe", "Requires-Python: >=3.11", "License-Expression: MIT"} <= set(lines)
    needed = {
        line.split(" ", 1)[1].split(">")[0] for line in lines if line.startswith("Requires-Dist") and ";" not in line
    }
    assert needed == {"pluggy", "filelock", "rich"}


@pytest.fixture(scope="module")
def editable(checkout, tmp_path_factory) -> zipfile.ZipFile:
    """The wheel that `pip install --editable` makes of the checkout."""
    target = tmp_path_factory.mktemp("editable")
    program = "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    return zipfile.ZipFile(target / run(sys.executable, "-c", program, target, cwd=checkout).split()[-1])


def test_wheel_and_editable_wheel_declare_the_same_entry_points(built, editable) -> None:
    """By them, pytest finds the plugin and the shell finds the program."""
    for archive in (zipfile.ZipFile(built[1]), editable):
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        declared = configparser.ConfigParser()
        declared.read_string(archive.read(name).decode())
        assert {group: dict(declared[group]) for group in declared.sections()} == {
            "console_scripts": {"offpipe": "runner.__main__:program"},
            "pytest11": {"offpipe": "pytest_offpipe.plugin"},
        }


def test_installed_plugin_is_found_by_pytest_and_collects_a_spec(installed, tmp_path) -> None:
    stage = {"name": "copy", "processor": "offpipe:stage_copy.py", "inputs": ["in.txt"], "outputs": {"text": "out.txt"}}
    (tmp_path / "in.txt").write_bytes(b"a\n")
    (tmp_path / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "installed", "stages": [stage]}))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "spec.json",
        "--offpipe-checks",
        "run,outputs,offline,skip",
    ]
    output = run(installed / "python", *words, cwd=tmp_path)
    assert "4 passed" in output
    origin = run(installed / "python", "-c", "import pytest_offpipe; print(pytest_offpipe.__file__)", cwd=tmp_path)
    assert origin.startswith(str(installed.parent))


def test_editable_wheel_names_the_checkout(checkout, editable) -> None:
    (path,) = [name for name in editable.namelist() if name.endswith(".pth")]
    assert editable.read(path).decode().split() == [str(checkout)]


def test_installed_program_runs_a_ready_made_stage_from_anywhere(installed, tmp_path) -> None:
    origin = run(installed / "python", "-c", "import runner; print(runner.__file__)", cwd=tmp_path)
    assert origin.startswith(str(installed.parent))
    version = run(installed / "offpipe", "--version", cwd=tmp_path)
    assert run(installed / "python", "-c", "import runner; print(runner.__version__)", cwd=tmp_path).strip() in version
    (tmp_path / "in.txt").write_bytes(b"a\r\nb")
    stage = {
        "name": "copy",
        "processor": "offpipe:stage_copy.py",
        "inputs": {"text": "in.txt"},
        "outputs": {"text": "out/c.txt"},
    }
    (tmp_path / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "installed", "stages": [stage]}))
    run(installed / "offpipe", "spec.json", cwd=tmp_path)
    assert (tmp_path / "out" / "c.txt").read_bytes() == b"a\r\nb"
    second = json.loads(run(installed / "offpipe", "spec.json", "--json", cwd=tmp_path))
    assert second["stages"]["copy"]["status"] == "skipped"
