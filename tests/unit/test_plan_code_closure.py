import hashlib
import os
import textwrap
import time

import pytest

from runner.plan.code.closure import Closures
from runner.plan.code.commands import MODULE, TEXT, Start, python_files_among, script_start
from runner.plan.code.modules import running_interpreter
from runner.plan.code.sources import Sources
from runner.plan.digests import DigestCache, Signature


class Project:
    """A root with files, and the closures of programs among them."""

    def __init__(self, root):
        self.root = str(root)
        self.cache = DigestCache(clock=lambda: time.time_ns() + 10**12)
        self.interpreter = running_interpreter()

    def write_all(self, files):
        for name, text in files.items():
            path = os.path.join(self.root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return self

    def closures(self):
        return Closures(Sources(self.root, self.cache), self.interpreter)

    def walk(self, *names, starts=(), pythonpath=""):
        begin = [*(script_start(os.path.join(self.root, name)) for name in names), *starts]
        return self.closures().of(tuple(begin), pythonpath)

    def paths(self, *names, **options):
        return {os.path.relpath(path, self.root) for path in self.walk(*names, **options).files}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "root").mkdir()
    return Project(tmp_path / "root")


def test_imports_beside_the_processor_are_followed_transitively(project):
    project.write_all({"bin/p.py": "import a", "bin/a.py": "import b, p", "bin/b.py": "import a", "bin/c.py": ""})
    code = project.walk("bin/p.py")
    assert {path: sha256 for path, (sha256, _) in code.files.items()} == {
        f"{project.root}/bin/{name}": hashlib.sha256(text).hexdigest()
        for name, text in (("p.py", b"import a"), ("a.py", b"import b, p"), ("b.py", b"import a"))
    }
    assert all(signed == Signature.of(os.stat(path)) for path, (_, signed) in code.files.items())
    assert code.absent == {} and code.packages == {}
    assert code.chain(f"{project.root}/bin/b.py") == [
        (f"{project.root}/bin/{name}", line) for name, line in (("p.py", 1), ("a.py", 1), ("b.py", 0))
    ]


def test_conditional_and_deferred_imports_are_followed(project):
    project.write_all(
        {
            "p.py": """
                if unknown:
                    import a
                try:
                    import b
                except ImportError:
                    import c
                def later():
                    from d import x
                """,
            **dict.fromkeys(("a.py", "b.py", "c.py", "d.py"), ""),
        }
    )
    assert project.paths("p.py") == {"p.py", "a.py", "b.py", "c.py", "d.py"}


def test_dotted_import_loads_every_parent(project):
    project.write_all(
        {"p.py": "import a.b.c", "a/__init__.py": "", "a/b/__init__.py": "", "a/b/c.py": "", "a/d.py": ""}
    )
    assert project.paths("p.py") == {"p.py", "a/__init__.py", "a/b/__init__.py", "a/b/c.py"}


def test_relative_imports_are_relative_to_their_package(project):
    project.write_all(
        {
            "p.py": "import a.b.c",
            "a/__init__.py": "from . import x",
            "a/x.py": "",
            "a/b/__init__.py": "from .y import name",
            "a/b/y.py": "from .. import z, attribute",
            "a/z.py": "from ... import beyond",
            "a/b/c.py": "from ..w import *",
            "a/w.py": "from .b import y",
        }
    )
    code = project.walk("p.py")
    assert {os.path.relpath(path, project.root) for path in code.files} == {
        "p.py", "a/__init__.py", "a/x.py", "a/b/__init__.py", "a/b/y.py", "a/z.py", "a/b/c.py", "a/w.py",
    }  # fmt: skip
    assert set(code.absent) == {"..."}


def test_script_has_no_parent_package(project):
    project.write_all({"p.py": "from .a import b", "a.py": ""})
    assert set(project.walk("p.py").absent) == {".a"}


def test_names_of_a_package_may_be_submodules(project):
    project.write_all({"p.py": "from a import b, c", "a/__init__.py": "c = 1", "a/b.py": "import d", "d.py": ""})
    assert project.paths("p.py") == {"p.py", "a/__init__.py", "a/b.py", "d.py"}
    assert project.walk("p.py").absent == {}


def test_star_import_goes_by_a_literal_all(project):
    project.write_all({"p.py": "from a import *", "a/__init__.py": "__all__ = ['b', 'x']", "a/b.py": "", "a/c.py": ""})
    assert project.paths("p.py") == {"p.py", "a/__init__.py", "a/b.py"}


def test_namespace_package_spans_path_entries(project):
    project.write_all(
        {"bin/p.py": "import n.one\nfrom n import two, three", "bin/n/one.py": "", "lib/n/two.py": "", "lib/m.py": ""}
    )
    code = project.walk("bin/p.py", pythonpath="lib:nowhere")
    assert {os.path.relpath(path, project.root) for path in code.files} == {"bin/p.py", "bin/n/one.py", "lib/n/two.py"}
    assert set(code.absent) == {"n.three"}


def test_modules_loaded_by_literal_names_are_followed(project):
    project.write_all(
        {
            "p.py": """
                from importlib import import_module as load
                load("a.b"), __import__("c"), load(".d", "a"), load(name)
                """,
            **dict.fromkeys(("a/__init__.py", "a/b.py", "a/d.py", "c.py"), ""),
        }
    )
    assert project.paths("p.py") == {"p.py", "a/__init__.py", "a/b.py", "a/d.py", "c.py"}


def test_pythonpath_is_relative_to_root_and_what_lies_outside_is_not_local(project, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "far.py").write_text("import near")
    project.write_all({"bin/p.py": "import near, far", "lib/near.py": ""})
    code = project.walk("bin/p.py", pythonpath=f"lib:{tmp_path}/outside")
    assert set(code.files) == {f"{project.root}/bin/p.py", f"{project.root}/lib/near.py"}
    assert code.packages == {"far": ""}


def test_editable_src_layout_is_local(project):
    """An editable install adds the project's src to `sys.path` with a .pth file, after the standard library."""
    project.write_all({"stages/p.py": "from pkg import core", "src/pkg/__init__.py": "", "src/pkg/core.py": ""})
    project.interpreter = project.interpreter._replace(site=(*project.interpreter.site, f"{project.root}/src"))
    assert project.paths("stages/p.py") == {"stages/p.py", "src/pkg/__init__.py", "src/pkg/core.py"}


def test_installed_packages_enter_by_name_and_version(project):
    import pluggy

    project.write_all({"p.py": "import pluggy.hooks\nfrom _pytest import config\nimport nowhere.at_all"})
    code = project.walk("p.py")
    assert set(code.files) == {f"{project.root}/p.py"}
    assert code.packages["pluggy"] == f"pluggy {pluggy.__version__}"
    assert code.packages["_pytest"] == f"pytest {pytest.__version__}"
    assert set(code.absent) == {"nowhere"}


def test_a_needed_module_that_is_found_nowhere_is_named_with_its_place(project):
    project.write_all({
        "p.py": "import a, json\ntry:\n    import fast\nexcept ImportError:\n    fast = None",
        "a.py": "import json\n\nfrom lib import x\nfrom . import y\ndef f():\n    import late\nimport lib",
    })  # fmt: skip
    code = project.walk("p.py")
    places = {"lib": (f"{project.root}/a.py", 3), ".": (f"{project.root}/a.py", 4)}
    assert code.absent == {"fast": None, **places, "late": None}


def test_our_own_packages_and_the_standard_library_stay_out(project):
    project.interpreter = project.interpreter._replace(site=())  # where another release may be installed
    project.write_all({"p.py": "from runner import sdk\nimport os.path, json\nfrom concurrent import futures"})
    code = project.walk("p.py")
    assert set(code.files) == {f"{project.root}/p.py"}
    assert code.packages == {} and code.absent == {}
    assert code.standard == {"concurrent", "concurrent.futures", "json", "os.path", "runner", "runner.sdk"}


def test_new_file_that_shadows_another_is_seen_by_the_next_plan(project):
    project.write_all({"bin/p.py": "import a", "lib/a.py": ""})
    assert project.paths("bin/p.py", pythonpath="lib") == {"bin/p.py", "lib/a.py"}
    project.write_all({"bin/a.py": ""})
    assert project.paths("bin/p.py", pythonpath="lib") == {"bin/p.py", "bin/a.py"}
    project.write_all({"bin/a/__init__.py": ""})
    assert project.paths("bin/p.py", pythonpath="lib") == {"bin/p.py", "bin/a/__init__.py"}


def test_file_that_shadows_a_standard_module_is_seen(project):
    project.write_all({"p.py": "import json, os"})
    assert project.paths("p.py") == {"p.py"}
    project.write_all({"json.py": "import mine", "mine.py": "", "os.py": ""})
    assert project.paths("p.py") == {"p.py", "json.py", "mine.py"}


def test_file_that_shadows_what_a_standard_module_imports_is_seen(project):
    project.write_all({"p.py": "import tempfile", "random.py": "import mine", "mine.py": "", "smtplib.py": ""})
    code = project.walk("p.py")
    assert {os.path.relpath(path, project.root) for path in code.files} == {"p.py", "random.py", "mine.py"}
    assert code.standard == set() and code.absent == {}  # tempfile imports this stage's random, so it is not preloaded
    assert [os.path.basename(path) for path, _ in code.chain(f"{project.root}/mine.py")] == [
        "p.py", "tempfile.py", "random.py", "mine.py",
    ]  # fmt: skip


def test_changed_module_has_another_digest(project):
    project.write_all({"p.py": "import a", "a.py": "x = 1"})
    before = project.walk("p.py").files
    project.write_all({"a.py": "x = 2"})
    after = project.walk("p.py").files
    assert before[f"{project.root}/a.py"].sha256 != after[f"{project.root}/a.py"].sha256
    assert before[f"{project.root}/p.py"].sha256 == after[f"{project.root}/p.py"].sha256


def test_extension_modules_enter_by_digest_and_compiled_python_is_refused(project):
    suffix = project.interpreter.suffixes[0]
    project.write_all({"p.py": "import a, b", f"a{suffix}": b"\x7fELF\0", "b.pyc": b"\0"})
    code = project.walk("p.py")
    assert {os.path.relpath(path, project.root) for path in code.files} == {"p.py", f"a{suffix}"}
    assert [(fault.where, fault.what) for fault in code.faults] == [
        ("b.pyc", "is compiled Python, whose imports cannot be known")
    ]


def test_syntax_errors_are_all_reported_with_their_places(project):
    project.write_all({"p.py": "import a, b, c", "a.py": "\n)", "b.py": "x = (", "c.py": b"'\xff'"})
    faults = list(project.walk("p.py").faults)
    assert [fault.where.partition(":")[0] for fault in faults] == ["a.py", "b.py", "c.py"]
    assert str(faults[0]).startswith("error: a.py:2: invalid syntax: unmatched ')'\nhint: it must parse with cpython")
    project.write_all({"a.py": "", "b.py": "", "c.py": ""})
    assert project.paths("p.py") == {"p.py", "a.py", "b.py", "c.py"}


def test_link_to_itself_is_absent(project):
    project.write_all({"p.py": "import a"})
    os.symlink("a.py", f"{project.root}/a.py")
    assert project.walk("p.py").absent == {"a": (f"{project.root}/p.py", 1)}


def test_missing_start_is_absent(project):
    assert project.walk("gone.py").absent == {"gone.py": None}


def test_module_start_loads_its_parents_and_a_packages_main(project):
    project.write_all({"a/__init__.py": "import c", "a/__main__.py": "from . import b", "a/b.py": "", "c.py": ""})
    assert project.paths(starts=[Start(MODULE, "a", project.root)]) == {
        "a/__init__.py",
        "a/__main__.py",
        "a/b.py",
        "c.py",
    }
    assert project.paths(starts=[Start(MODULE, "a.b", project.root)]) == {"a/__init__.py", "a/b.py", "c.py"}
    assert project.walk(starts=[Start(MODULE, "json.tool", project.root)]).standard == {"json.tool"}
    assert project.walk(starts=[Start(MODULE, "nothing", project.root)]).absent == {"nothing": ("", 0)}


def test_text_start_is_parsed_too(project):
    project.write_all({"a.py": ""})
    code = project.walk(starts=[Start(TEXT, "import a", project.root)])
    assert code.chain(f"{project.root}/a.py") == [("-c", 1), (f"{project.root}/a.py", 0)]
    (fault,) = project.walk(starts=[Start(TEXT, "import", project.root)]).faults
    assert str(fault).startswith("error: -c:1: invalid syntax")


def test_script_without_suffix_is_parsed_and_an_archive_is_refused(project):
    project.write_all({"run": "#!/usr/bin/env python3\nimport a", "a.py": "", "app.pyz": b"PK\x05\x06\0\0"})
    assert [*python_files_among(("run",), project.root)] == [script_start(f"{project.root}/run")]
    assert project.paths("run") == {"run", "a.py"}
    assert [fault.where for fault in project.walk("run", "app.pyz").faults] == ["app.pyz"]


def test_unchanged_code_is_neither_read_nor_parsed_again(project, monkeypatch):
    project.write_all({"p.py": "import a\nimport pkg.b", "a.py": "", "pkg/__init__.py": "", "pkg/b.py": "import a"})
    before = project.walk("p.py").files
    ticks = []
    project.cache = DigestCache(project.cache.dump())
    project.cache.tick = ticks.append
    monkeypatch.setattr("runner.plan.code.parse.parse", None)
    assert project.walk("p.py").files == before
    assert ticks == [] and not project.cache.dirty and not project.cache.parsed.dirty


def test_stages_that_share_code_share_the_work(project):
    project.write_all({f"bin/p{number}.py": "import shared" for number in range(300)})
    project.write_all({"bin/shared.py": "import other", "bin/other.py": ""})
    closures = project.closures()
    read = []
    source = closures.sources._source
    closures.sources._source = lambda path, *shown, **options: read.append(path) or source(path, *shown, **options)
    for number in range(300):
        starts = [script_start(f"{project.root}/bin/p{number}.py")]
        assert len(closures.of(tuple(starts)).files) == 3
        assert closures.of(tuple(starts)) is closures.of(tuple(starts))
    assert len(read) == 302


@pytest.mark.full
def test_chain_of_ten_thousand_modules_needs_no_recursion(project):
    project.write_all({f"m{number}.py": f"import m{number + 1}" for number in range(10_000)})
    assert len(project.walk("m0.py").files) == 10_000
