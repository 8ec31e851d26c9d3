import json
import os
import subprocess
import sys
import types
import venv

import pytest

from runner.plan.code.modules import (
    INSTALLED,
    LOCAL,
    NAMESPACE,
    OUR_DIRECTORIES,
    OURS,
    STANDARD,
    Interpreter,
    Lookup,
    _editable_installs,
    distribution,
    running_interpreter,
    sdk_path,
)
from runner.plan.code.sources import Sources
from runner.plan.digests import DigestCache

CHECKOUT = os.path.dirname(OUR_DIRECTORIES[0])
SHOW = "import json; from runner.plan.code.modules import *; print(json.dumps(running_interpreter().site))"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a function that makes files and looks a module up, with a small interpreter of its own."""
    root = tmp_path / "root"
    root.mkdir()

    def look(name, *files, entries=("root/bin",), site=("site",), **options):
        for file in files:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        interpreter = Interpreter(
            site=tuple(f"{tmp_path}/{entry}" for entry in site),
            stdlib=(f"{tmp_path}/lib",),
            standard=frozenset({"json", "os"}),
            fixed=frozenset({"os"}),
            suffixes=(".so", ".py", ".pyc"),
            editable={name: (f"{tmp_path}/{path}",) for name, path in options.get("editable", {}).items()},
        )
        monkeypatch.setattr("runner.plan.code.modules.OUR_DIRECTORIES", (f"{tmp_path}/ours/runner",))
        sources = Sources(str(root), DigestCache())
        lookup = Lookup(tuple(f"{tmp_path}/{entry}" for entry in entries), sources, interpreter)
        modules, missing = lookup.chain(name)
        return [
            (module.kind, os.path.relpath(module.path, tmp_path) if module.path else "") for module in modules
        ], missing

    return look


def test_first_entry_wins_and_a_package_beats_a_module(place):
    assert place("a", "root/bin/a.py", "root/lib/a.py", entries=("root/bin", "root/lib"))[0] == [
        (LOCAL, "root/bin/a.py")
    ]
    assert place("a", "root/bin/a/__init__.py", "root/bin/a.py")[0] == [(LOCAL, "root/bin/a/__init__.py")]


def test_extension_beats_source_and_source_beats_bytecode(place):
    assert place("a", "root/bin/a.pyc")[0] == [(LOCAL, "root/bin/a.pyc")]
    assert place("a", "root/bin/a.py")[0] == [(LOCAL, "root/bin/a.py")]
    assert place("a", "root/bin/a.so")[0] == [(LOCAL, "root/bin/a.so")]


def test_parents_are_loaded_first(place):
    files = ("root/bin/a/__init__.py", "root/bin/a/b/__init__.py", "root/bin/a/b/c.py")
    assert place("a.b.c", *files) == ([(LOCAL, file) for file in files], "")
    assert place("a.b.x", *files) == ([(LOCAL, file) for file in files[:2]], "a.b.x")
    assert place("a.b.c.d", *files)[1] == "a.b.c.d"


def test_namespace_spans_entries_and_any_file_beats_it(place):
    files = ("root/bin/n/one.py", "root/lib/n/two.py")
    entries = ("root/bin", "root/lib")
    assert place("n.two", *files, entries=entries)[0] == [(NAMESPACE, ""), (LOCAL, "root/lib/n/two.py")]
    assert place("n.more", "site/n/more.py", entries=entries)[0] == [(NAMESPACE, ""), (INSTALLED, "site/n/more.py")]
    assert place("n", "site/n.py", entries=entries)[0] == [(INSTALLED, "site/n.py")]


def test_standard_module_is_shadowed_only_when_it_can_be(place):
    assert place("json")[0] == [(STANDARD, "")]
    assert place("json", "site/json.py")[0] == [(STANDARD, "")]
    assert place("os", "root/bin/os.py")[0] == [(STANDARD, "")]
    assert place("json", "root/bin/json.py")[0] == [(LOCAL, "root/bin/json.py")]


def test_site_packages_below_root_are_not_local(place):
    site = "root/.venv/lib/python3/site-packages"
    assert place("a", f"{site}/a.py", site=(site,))[0] == [(INSTALLED, f"{site}/a.py")]
    assert place("b", "root/src/b.py", site=(site, "root/src"))[0] == [(LOCAL, "root/src/b.py")]
    assert place("c", f"{site}/c.py", entries=("root", site))[0] == [(INSTALLED, f"{site}/c.py")]


def test_beside_a_processor_outside_root_is_local(place):
    assert place("a", "else/where/a.py", entries=("else/where",))[0] == [(LOCAL, "else/where/a.py")]
    assert place("b", "path/b.py", entries=("else/where", "path"))[0] == [(INSTALLED, "path/b.py")]


def test_link_from_site_into_root_is_local(place, tmp_path):
    place("x", "root/src/pkg/__init__.py", "site/x.py")
    (tmp_path / "site" / "pkg").symlink_to(tmp_path / "root" / "src" / "pkg")
    assert place("pkg")[0] == [(LOCAL, "site/pkg/__init__.py")]


def test_finders_of_editable_installs_are_asked_last(place):
    editable = {"pkg": "root/src/pkg", "mod": "root/src/mod.py", "imp": "root/src/imp/__init__.py"}
    files = ("root/src/pkg/__init__.py", "root/src/mod.py", "root/src/imp/__init__.py", "root/src/imp/sub.py")
    assert place("pkg", *files, editable=editable)[0] == [(LOCAL, files[0])]
    assert place("mod", editable=editable)[0] == [(LOCAL, files[1])]
    assert place("imp.sub", editable=editable)[0] == [(LOCAL, files[2]), (LOCAL, files[3])]
    assert place("pkg", "site/pkg.py", editable=editable)[0] == [(INSTALLED, "site/pkg.py")]
    spaces = place("space.mod", "root/space/mod.py", editable={"space": "root/space"})
    assert spaces[0] == [(NAMESPACE, ""), (LOCAL, "root/space/mod.py")]


def test_our_own_packages_are_ours_wherever_they_are_found(place):
    assert place("runner.sdk")[0] == [(OURS, "")]
    assert place("runner.sdk", "ours/runner/__init__.py", site=("ours",))[0] == [(OURS, "ours/runner/__init__.py")]
    assert place("runner", "root/bin/runner.py")[0] == [(LOCAL, "root/bin/runner.py")]


def test_directories_looked_into_are_on_record(place, tmp_path):
    sources = Sources("/", DigestCache())
    python = Interpreter((), (), frozenset(), frozenset(), (".py",), {})
    Lookup((str(tmp_path), f"{tmp_path}/missing"), sources, python).chain("a")
    assert {str(tmp_path), f"{tmp_path}/missing"} <= sources.paths


def test_module_that_took_the_shape_of_a_fifo_is_a_fault(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    sources = Sources(str(tmp_path), DigestCache())
    source = sources.read(f"{tmp_path}/pipe.py")
    assert (source.fault.where, source.fault.what) == ("pipe.py", "is a FIFO, not a regular file")
    with pytest.raises(FileNotFoundError):
        sources.read(f"{tmp_path}/gone.py")


def test_site_entries_come_with_what_pth_files_add(tmp_path):
    venv.EnvBuilder(with_pip=False, symlinks=True).create(tmp_path / "venv")
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (tmp_path / "src").mkdir()
    (site / "project.pth").write_text(f"{tmp_path}/src\n")
    python = tmp_path / "venv" / "bin" / "python"
    environment = {"PYTHONPATH": CHECKOUT, "PATH": os.defpath}
    shown = subprocess.run([python, "-c", SHOW], env=environment, capture_output=True, check=True, cwd=tmp_path)
    entries = json.loads(shown.stdout)
    assert entries == [str(site), str(tmp_path / "src")]


def test_search_path_holds_neither_standard_library_nor_caller(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/caller", *sys.path, "relative"])
    entries = running_interpreter().site
    assert "/caller" not in entries and "" not in entries and "relative" not in entries
    assert os.path.dirname(os.__file__) not in entries


def test_stages_are_given_the_sdk_on_their_path_where_only_this_process_has_it(monkeypatch):
    standard = [entry for entry in sys.path if "python3" in entry and "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", [CHECKOUT, *standard, "/venv/site-packages"])
    assert sdk_path() == CHECKOUT
    monkeypatch.setattr(sys, "path", ["/cwd", *standard, "/venv/site-packages", CHECKOUT])  # added by a .pth file
    assert sdk_path() is None


def test_modules_that_no_file_can_shadow():
    python = running_interpreter()
    assert {"sys", "os", "io", "builtins", "encodings"} <= python.fixed
    assert not {"json", "random", "socket", "tempfile"} & python.fixed
    assert {"json", "os"} <= python.standard
    assert python.suffixes[-2:] == (".py", ".pyc")


def test_installed_modules_have_the_name_and_version_of_their_distribution():
    import pluggy
    import pytest

    sources = Sources("/", DigestCache())
    assert distribution(sources, "pluggy", pluggy.__file__) == f"pluggy {pluggy.__version__}"
    assert distribution(sources, "_pytest", "") == f"pytest {pytest.__version__}"  # looked up in all distributions
    assert distribution(sources, "no_such_module", "") == ""


def test_a_package_that_several_distributions_share_has_the_names_of_all(tmp_path):
    for name in ("one", "Two.Odd"):
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.0.dist-info/METADATA").write_text(f"Name: {name}\nVersion: 1.0\n\n")
        (tmp_path / f"{name}-1.0.dist-info/top_level.txt").write_text("shared\n")
    show = "from runner.plan.code.modules import *; print(distribution(None, 'shared', ''))"
    environment = {"PYTHONPATH": f"{CHECKOUT}:{tmp_path}", "PATH": os.defpath}
    shown = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, check=True, text=True)
    assert shown.stdout == "one 1.0, two-odd 1.0\n"


def test_tables_of_editable_finders_are_read(monkeypatch):
    module = types.ModuleType("__editable___project_1_finder")
    module.MAPPING = {"pkg": "/src/pkg"}
    module.NAMESPACES = {"space": ["/src/space"]}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    finder = type("_EditableFinder", (), {"__module__": module.__name__})
    redirecting = type("RedirectingFinder", (), {"_redirections": {"other": "/src/other/__init__.py"}})
    assert _editable_installs([finder, redirecting, object()]) == {
        "space": ("/src/space",),
        "pkg": ("/src/pkg",),
        "other": ("/src/other/__init__.py",),
    }
