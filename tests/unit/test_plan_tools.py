from __future__ import annotations

import os
import sys

import pytest
from tool_environments import conda_package

from runner.errors import InputError
from runner.plan.digests import DigestCache
from runner.plan.tools import ToolsReader, python_of, python_version, sdk_path_for, too_old_version, variables

SITE = "lib/python3.12/site-packages"


@pytest.fixture
def prefix(tmp_path):
    (tmp_path / "env").mkdir()
    return tmp_path / "env"


def write(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def packages(prefix):
    return ToolsReader("spec.json", str(prefix.parent), DigestCache()).read(str(prefix)).packages


def with_python(prefix):
    (prefix / "bin").mkdir(exist_ok=True)
    (prefix / "bin/python").symlink_to(sys.executable)
    return str(prefix)


@pytest.mark.parametrize(
    ("config", "version"),
    [
        ("home = /usr/bin\nversion = 3.12.4\n", "3.12.4"),
        ("home=/usr/bin\nversion=3.8.1\n", "3.8.1"),
        ("version_info = 3.14.0.final.0\nprompt = version = 1.2\n", "3.14.0.final.0"),
    ],
)
def test_the_version_of_a_venv_is_what_its_maker_wrote(prefix, config, version):
    write(prefix / "pyvenv.cfg", config)
    assert packages(prefix) == {"python": version}
    assert python_version(str(prefix)) == tuple(map(int, version.split(".")[:2]))


def test_the_version_of_a_conda_python_is_in_the_name_of_its_package(prefix):
    conda_package(prefix, "python-dateutil", "2.9")
    conda_package(prefix, "python_abi", "3.11")
    assert python_version(str(prefix)) is None
    conda_package(prefix, "python", "3.10.4")
    assert python_version(str(prefix)) == (3, 10)


def test_each_kind_of_distribution_counts_by_its_name(prefix):
    write(prefix / "pyvenv.cfg", "version = 3.12.4\n")
    write(prefix / f"{SITE}/a_b-1.0.dist-info/RECORD", "a.py,sha256=x,1\n")
    write(prefix / f"{SITE}/bare-1.0.dist-info/METADATA")
    write(prefix / f"{SITE}/old-1.0-py3.12.egg-info")
    write(prefix / f"{SITE}/a.py")
    assert packages(prefix).keys() == {"python", "a_b-1.0", "bare-1.0", "old-1.0-py3.12"}


def test_a_second_directory_of_packages_counts_and_a_link_to_one_does_not(prefix):
    write(prefix / "pyvenv.cfg", "version = 3.12.4\n")
    write(prefix / f"{SITE}/a-1.0.dist-info/RECORD", "x\n")
    first = packages(prefix)
    (prefix / "lib/python3").symlink_to("python3.12")
    assert packages(prefix) == first
    write(prefix / "lib/pypy3.10/site-packages/a-1.0.dist-info/RECORD", "x\n")
    assert packages(prefix).keys() == first.keys() and packages(prefix) != first


@pytest.mark.parametrize("line", ["../../../bin/tool,sha256=x,1", '"../../../bin/a,b",sha256=x,1'])
def test_lines_for_files_in_bin_do_not_count(prefix, line):
    write(prefix / "pyvenv.cfg", "version = 3.12.4\n")
    found = []
    for last in (line, line.replace("=x", "=y"), line.replace("bin", "share")):
        write(prefix / f"{SITE}/a-1.0.dist-info/RECORD", f"a.py,,\n{last}\n")
        found.append(packages(prefix)["a-1.0"])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("text", "is_editable"), [('{"dir_info": {"editable": true}}', True), ('{"dir_info": {}}', False)]
)
def test_a_distribution_is_editable_if_its_url_says_so(prefix, text, is_editable):
    write(prefix / "pyvenv.cfg", "version = 3.12.4\n")
    write(prefix / f"{SITE}/a-1.0.dist-info/RECORD", "a-1.0.dist-info/direct_url.json,sha256=x,1\n")
    write(prefix / f"{SITE}/a-1.0.dist-info/direct_url.json", text)
    if not is_editable:
        assert "a-1.0" in packages(prefix)
        return
    with pytest.raises(InputError) as refused:
        packages(prefix)
    what = 'tools "env": has an editable install, whose files are not known: "a-1.0"'
    assert (refused.value.faults[0].where, refused.value.faults[0].what) == ("spec.json", what)


def test_all_that_decides_is_in_its_paths(prefix):
    write(prefix / "pyvenv.cfg", "version = 3.12.4\n")
    conda_package(prefix, "tool", "1.0")
    write(prefix / f"{SITE}/a-1.0.dist-info/RECORD", "x\n")
    reader = ToolsReader("spec.json", "/", DigestCache())
    reader.read(str(prefix))
    shown = {os.path.relpath(path, prefix) for path in reader.paths}
    record = f"{SITE}/a-1.0.dist-info/RECORD"
    assert shown == {"pyvenv.cfg", "conda-meta", "conda-meta/tool-1.0-h1_0.json", "lib", SITE, record}


def test_an_environment_is_read_once_and_again_when_something_was_installed(prefix):
    write(prefix / "pyvenv.cfg", "version = 3.12.4\n")
    write(prefix / f"{SITE}/a-1.0.dist-info/RECORD", "x\n")
    reader = ToolsReader("spec.json", "/", DigestCache())
    first = reader.read(str(prefix))
    assert reader.read(str(prefix)) is first
    conda_package(prefix, "tool", "1.0")
    assert reader.read(str(prefix)).packages.keys() == {"python", "a-1.0", "tool-1.0-h1_0"}
    write(prefix / f"{SITE}/b-1.0.dist-info/RECORD", "x\n")
    assert "b-1.0" in reader.read(str(prefix)).packages


def test_a_python_that_is_too_old_gets_no_sdk(prefix):
    write(prefix / "pyvenv.cfg", "version = 3.10.1\n")
    python = python_of([with_python(prefix)])
    assert too_old_version(python) == "3.10" and sdk_path_for([str(prefix)]) is None
    write(prefix / "pyvenv.cfg", "version = 3.11.0\n")
    assert too_old_version(python) is None and os.listdir(sdk_path_for([str(prefix)])) == ["runner"]


def test_the_first_environment_of_each_kind_is_named(tmp_path):
    for name in "ab":
        write(tmp_path / name / "pyvenv.cfg")
        conda_package(tmp_path / f"conda-{name}", "tool", "1.0")
    places = [str(tmp_path / name) for name in ("conda-b", "a", "b", "conda-a")]
    assert variables(places) == {"CONDA_PREFIX": places[0], "VIRTUAL_ENV": places[1]}
    assert python_of(places) is None
