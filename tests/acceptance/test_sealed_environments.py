"""Sealed stages see their environments of tools, wherever these lie. All lie below /tmp here, which is hidden."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import PipelineBench
from sealed_stages import look, sealed
from tool_environments import conda_package, install, other_python, project, venv

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    """A venv whose Python is in a directory that is hidden, with pack 1.0; do not change it."""
    base = tmp_path_factory.mktemp("environments")
    install(venv(base / "one", other_python()), project(base / "pack", "pack", "1.0"))
    return base / "one"


@pytest.fixture
def bench(tmp_path):
    made = PipelineBench(tmp_path / "root")
    made.write("other.txt", "other\n")
    yield made
    made.close()


def moved(one: Path, prefix: Path) -> Path:
    shutil.copytree(one, prefix, symlinks=True, dirs_exist_ok=True)
    script = prefix / "bin/pack"
    script.write_text(script.read_text().replace(str(one), str(prefix)))
    return prefix


PLACES = ["root/envs/bio", "root/bio", "bio", "home/envs/bio", "home", "root"]


@pytest.mark.parametrize("place", PLACES)
def test_a_venv_is_there_with_its_python_and_its_packages(bench, tmp_path, one, place):
    prefix = moved(one, tmp_path / place)
    imports = "import os, pack, sys\nfrom runner import sdk\n"
    bench.write("stage.py", f"{imports}print(sys.prefix, pack.VERSION, *os.listdir())\n")
    python = {"name": "py", "processor": "stage.py", "stdout": "seen", "outputs": {"seen": "py.seen"}, "sealed": True}
    bench.define(python, sealed("look", "sh", "-ec", "pack; ls"), defaults={"tools": str(prefix)})
    bench.succeed(env={"HOME": str(tmp_path / "home")})
    where, version, *names = bench.read("py.seen").decode().split()
    assert (where, version) == (str(prefix), "1.0") and "other.txt" not in names
    version, *names = bench.read("look.seen").decode().split()
    assert version == "1.0" and "other.txt" not in names


@pytest.mark.parametrize("place", PLACES)
def test_all_that_is_installed_in_a_conda_prefix_is_there_and_read_only(bench, tmp_path, place):
    prefix = tmp_path / place
    files = {"bin/tool": f"#!/bin/sh\ncat {prefix}/lib/tool.txt {prefix}/share/tool.txt\n"}
    conda_package(prefix, "tool", "1.0", {**files, "lib/tool.txt": "lib\n", "share/tool.txt": "share\n"})
    bench.define(
        sealed("look", "sh", "-c", f"tool; rm {prefix}/bin/tool; touch {prefix}/bin/x; true", tools=str(prefix))
    )
    bench.succeed(env={"HOME": str(tmp_path / "home")})
    is_apart = place in ("home", "root")  # then only what a program needs of it is there
    assert bench.read("look.seen").decode() == ("lib\n" if is_apart else "lib\nshare\n")
    assert (prefix / "bin/tool").exists() and not (prefix / "bin/x").exists()


def test_a_prefix_that_is_a_link_is_there_with_its_target(bench, tmp_path):
    conda_package(tmp_path / "real/bio", "tool", "1.0", {"bin/tool": "#!/bin/sh\necho $CONDA_PREFIX\n"})
    (tmp_path / "bio").symlink_to("real/bio")
    assert look(bench, "tool", tools=str(tmp_path / "bio")) == [str(tmp_path / "bio")]


def test_an_environment_of_others_in_root_is_not_there(bench):
    for name in ("mine", "theirs"):
        conda_package(bench.root / f"envs/{name}", "tool", "1.0", {"bin/tool": ""})
    assert look(bench, "ls envs", tools="envs/mine") == ["mine"]


def test_a_failure_does_not_ask_for_a_file_of_the_environment_as_an_input(bench):
    conda_package(
        bench.root / "bio", "tool", "1.0", {"bin/tool": "#!/bin/sh\necho $PWD/bio/lib/x >&2\nexit 1\n", "lib/x": ""}
    )
    bench.define(sealed("look", "tool", tools="bio"))
    assert "does not declare" not in bench.run().stderr


def test_no_path_of_seen_as_is_in_an_environment(bench):
    conda_package(bench.root / "bio", "tool", "1.0")
    bench.define(sealed("look", "true", tools="bio", seenAs={"seen": "bio/out"}))
    done = bench.run("validate")
    assert done.returncode == 2 and '"bio/out" overlaps with the tools' in done.stderr
