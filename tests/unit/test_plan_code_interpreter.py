import json
import os
import subprocess
import sys
import types
import venv

from runner.plan.code.interpreter import (
    _editable_installs,
    distribution,
    interpreter_search_path,
    running_interpreter,
    sdk_path,
)
from runner.plan.code.modules import OUR_DIRECTORIES

CHECKOUT = os.path.dirname(OUR_DIRECTORIES[0])
SHOW = "import json; from runner.plan.code.interpreter import *; print(json.dumps(interpreter_search_path()))"


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
    entries = interpreter_search_path()
    assert "/caller" not in entries and "" not in entries and "relative" not in entries
    assert os.path.dirname(os.__file__) not in entries


def test_stages_are_given_the_sdk_on_their_path_where_only_this_process_has_it(monkeypatch):
    standard = [entry for entry in sys.path if "python3" in entry and "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", [CHECKOUT, *standard, "/venv/site-packages"])
    assert sdk_path() == CHECKOUT
    monkeypatch.setattr(sys, "path", ["/cwd", *standard, "/venv/site-packages", CHECKOUT])  # by a .pth file
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

    assert distribution("pluggy", pluggy.__file__) == f"pluggy {pluggy.__version__}"
    assert distribution("_pytest", "") == f"pytest {pytest.__version__}"  # by reading what all of them hold
    assert distribution("no_such_module", "") == ""


def test_a_package_that_several_distributions_share_has_the_names_of_all(tmp_path):
    for name in ("one", "Two.Odd"):
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.0.dist-info/METADATA").write_text(f"Name: {name}\nVersion: 1.0\n\n")
        (tmp_path / f"{name}-1.0.dist-info/top_level.txt").write_text("shared\n")
    show = "from runner.plan.code.interpreter import *; print(distribution('shared', ''))"
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
    assert _editable_installs([finder, redirecting, object()]) == (
        {"pkg": "/src/pkg", "other": "/src/other/__init__.py"},
        {"space": ("/src/space",)},
    )
