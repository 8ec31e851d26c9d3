"""The real interpreter is the judge: every file that it loads from a tree must be in the closure."""

import os
import subprocess
import sys
import textwrap

import pytest

from runner.plan.code.closure import Closures
from runner.plan.code.commands import MODULE, TEXT, Start, script_start
from runner.plan.code.modules import running_interpreter
from runner.plan.code.sources import Sources
from runner.plan.digests import DigestCache

TREE = {
    "bin/p.py": """
        import random, tempfile, logging.handlers
        import plain, deep.er.est
        from deep import er, sibling
        from star import *
        import space.one
        from space import two
        from importlib import import_module
        import importlib as il
        import_module("lit.eral"); il.import_module(".rel", "lit"); __import__("dunder.sub")
        if len(str(1)) == 1:
            def f():
                from late import later
            f()
        try:
            import not_there
        except ImportError:
            import fallback
        """,
    "bin/plain.py": "import src_pkg.core",
    "bin/statistics.py": "import math as m, helper_of_shadow\nfrom math import *\nfsum = m.fsum",
    "bin/bisect.py": "import helper_of_shadow\nbisect = insort = bisect_left = bisect_right = None",
    "bin/helper_of_shadow.py": "",
    "bin/deep/__init__.py": "from . import init_of_deep",
    "bin/deep/init_of_deep.py": "",
    "bin/deep/sibling.py": "from .er import est",
    "bin/deep/er/__init__.py": "from ..up import thing",
    "bin/deep/er/est.py": "from .. import up",
    "bin/deep/up.py": "thing = 1",
    "bin/star/__init__.py": "__all__ = ['s1'] + ['s2']",
    "bin/star/s1.py": "",
    "bin/star/s2.py": "from . import s3",
    "bin/star/s3.py": "",
    "bin/space/one.py": "",
    "lib/space/two.py": "from . import one",
    "bin/lit/__init__.py": "",
    "bin/lit/eral.py": "",
    "bin/lit/rel.py": "",
    "bin/dunder/__init__.py": "",
    "bin/dunder/sub.py": "",
    "bin/late/__init__.py": "",
    "bin/late/later.py": "",
    "bin/fallback.py": "import json",
    "bin/json/__init__.py": "from . import inner",
    "bin/json/inner.py": "",
    "lib/src_pkg/__init__.py": "import plain",
    "lib/src_pkg/core.py": "# -*- coding: latin-1 -*-\nname = '\xe4'\nfrom src_pkg import other".encode("latin-1"),
    "lib/src_pkg/other.py": "",
    "bin/not_loaded.py": "",
}
DUMP = """
import sys as _s
_files = [m.__dict__.get("__file__") for m in list(_s.modules.values())]
print("\\n".join(f for f in _files if f))
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return str(tmp_path / "root")


def write(root, files):
    for name, text in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else textwrap.dedent(text).encode())


def walked(root, start, pythonpath=""):
    closures = Closures(Sources(root, DigestCache()), running_interpreter())
    code = closures.of((start,), pythonpath)
    return {os.path.relpath(path, root) for path in code.files}


def really_loaded(argv, root, pythonpath):
    environment = {"PATH": os.defpath, "PYTHONPATH": pythonpath, "PYTHONDONTWRITEBYTECODE": "1"}
    shown = subprocess.run(
        [sys.executable, *argv], env=environment, cwd=root, stdout=subprocess.PIPE, text=True, check=True
    )
    return {os.path.relpath(path, root) for path in shown.stdout.split("\n") if path.startswith(root)}


@pytest.mark.full
def test_every_local_module_the_real_interpreter_loads_is_found_for_a_script(root):
    write(root, TREE)
    with open(f"{root}/bin/p.py", "a") as script:
        script.write(DUMP)
    loaded = really_loaded(["bin/p.py"], root, f"{root}/lib")
    files = walked(root, script_start(f"{root}/bin/p.py"), "lib")
    assert len(loaded) > 20 and {"bin/statistics.py", "bin/bisect.py", "lib/space/two.py"} & loaded
    assert loaded <= files
    assert "bin/not_loaded.py" not in files


def test_every_local_module_the_real_interpreter_loads_is_found_for_a_module(root):
    write(root, TREE)
    write(root, {"app/__init__.py": "import bin.plain_too", "app/__main__.py": "from . import part" + DUMP})
    write(
        root,
        {"app/part.py": "import src_pkg_too", "bin/plain_too.py": "", "lib/src_pkg_too.py": "from app import part"},
    )
    loaded = really_loaded(["-m", "app"], root, f"{root}/lib")
    assert loaded == {"app/__init__.py", "app/__main__.py", "app/part.py", "bin/plain_too.py", "lib/src_pkg_too.py"}
    assert loaded <= walked(root, Start(MODULE, "app", root), "lib")


def test_every_local_module_the_real_interpreter_loads_is_found_for_a_text(root):
    write(root, {"a/__init__.py": "", "a/b.py": "from . import c", "a/c.py": ""})
    text = "from a import b" + DUMP
    loaded = really_loaded(["-c", text], root, "")
    assert loaded == walked(root, Start(TEXT, text, root)) == {"a/__init__.py", "a/b.py", "a/c.py"}
