"""What is installed, told as importlib.metadata tells it."""

import importlib
import importlib.metadata
import sys

import pytest

from runner.decide.distributions import needs_library, read_distributions


def told_by_the_library(path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(path))
    importlib.invalidate_caches()
    return {
        top: {(name, importlib.metadata.version(name)) for name in names}
        for top, names in importlib.metadata.packages_distributions().items()
    }


@pytest.fixture
def install(tmp_path):
    """Describe a distribution in a directory as an installer does; the files in RECORD are there."""

    def installed(entry, *files, metadata="Metadata-Version: 2.1\nName: {}\nVersion: {}\n\nVersion: none\n", **more):
        site = tmp_path / more.pop("site", "site")
        described = site / entry
        described.mkdir(parents=True)
        name, _, version = entry.removesuffix(".dist-info").removesuffix(".egg-info").partition("-")
        (described / more.pop("called", "METADATA")).write_text(metadata.format(name, version))
        for file in files:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).touch()
        if files:
            quoted = [f'"{file.replace(chr(34), chr(34) * 2)}"' if {",", '"'} & {*file} else file for file in files]
            (described / "RECORD").write_text("".join(f"{file},sha256=x,0\n" for file in quoted))
        if more:
            (described / "top_level.txt").write_text(more["top"])
        return str(site)

    return installed


def test_everything_that_is_installed_here_is_told_as_the_library_tells_it(monkeypatch):
    path = [entry for entry in sys.path if not needs_library([entry], ())]
    expected = told_by_the_library(path, monkeypatch)
    assert "pluggy" in expected and dict(read_distributions(path)) == expected


@pytest.mark.parametrize(
    "files",
    [
        ("pkg/__init__.py", "pkg/sub/x.py"), ("mod.py",), ("_ext.abi3.so", "fast.so"), ("../../bin/tool.py",),
        ("LICENSE", "a,b/x.py", 'q"q/y.py', "__pycache__/mod.cpython-311.pyc"), (),
    ],
    ids=repr,
)  # fmt: skip
def test_names_of_files_are_inferred_alike(install, monkeypatch, files):
    path = [install("odd.Name-1.0.dist-info", *files)]
    assert dict(read_distributions(path)) == told_by_the_library(path, monkeypatch)


def test_declared_names_namespaces_and_earlier_entries_are_told_alike(install, monkeypatch):
    first = install("one-1.0.dist-info", "space/one.py")
    install("two-2.0.dist-info", "space/two.py")
    install("old-3.0.egg-info", called="PKG-INFO", top="old\nolder\n")
    later = install("one-0.9.dist-info", "space/one.py", site="later")
    path = [first, later]
    expected = told_by_the_library(path, monkeypatch)
    assert expected["space"] == {("one", "1.0"), ("two", "2.0")} and expected["older"] == {("old", "3.0")}
    assert dict(read_distributions(path)) == expected


def test_what_is_described_by_halves_is_nobodys_trouble(install):
    assert dict(read_distributions([install("half-1.0.dist-info", "half.py", metadata="")])) == {}


def test_what_only_the_library_knows_is_left_to_it(install, tmp_path):
    class Finder:
        def find_distributions(self, context):
            return []

    plain = install("one-1.0.dist-info", "one.py")
    assert not needs_library(["", plain, str(tmp_path / "none")], ())
    assert needs_library([plain], [Finder()])
    assert needs_library([f"{plain}/one.py"], ())  # as an archive is
    assert needs_library([str(tmp_path / "x.egg")], ())
    assert needs_library([install("old-3.0.egg-info", called="PKG-INFO")], ())
