# ruff: noqa: E501 - programs in a line each
import builtins
import dis
import subprocess
import sys
import types
from pathlib import Path

import pytest

import runner.sandbox.ending as ending_module

ROOT = Path(__file__).resolve().parents[2]

# As in a stage: everything up to here was loaded by the launcher, what comes then is of the program.
STAGE = """
import sys
sys.path.insert(0, {root!r})
import collections.abc, dataclasses, enum, functools, io, json, os, pathlib, re, tempfile, threading, warnings, weakref, zipfile
from runner.sandbox.ending import Ending
ending = Ending()
sys.modules.pop("gc")
import gc
gc.freeze()
del sys.modules["gc"], gc
program = open(sys.argv[1]).read()
main = type(sys)("__main__")
main.__dict__.update(__builtins__=__builtins__, __file__=sys.argv[1])
here, sys.modules["__main__"] = sys.modules["__main__"], main
streams = [*map(id, (sys.stdin, sys.stdout, sys.stderr))]
ended = None
try:
    exec(program, main.__dict__)
except SystemExit as error:
    ended = error
ending.leave(ended, main, streams)
os.write(2, b"not at once")
os._exit(0)
"""


def ended(tmp_path, program):
    """How a process ended, and what it wrote, that was to end at once behind this program."""
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(program)
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-B", "-c", STAGE.format(root=str(ROOT)), str(script)],
            cwd=tmp_path, env={"LANG": "C.UTF-8"}, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False,
        )  # fmt: skip
    return done.returncode, log.read_text()


HARMLESS = {
    "nothing": "",
    "values": "import json, re\nfound = re.findall('a', 'banana'), json.loads('[1, {}]'), {1, 2}, b'', 1.5, object()\n",
    "cycle": "a = []\na.append(a)\ndef f():\n    return g()\ndef g():\n    return f\n",
    "classes": "import functools\nclass A:\n    @functools.lru_cache\n    def f(self): pass\n    @property\n    def g(self): pass\n"
    "a = A()\na.f()\n",
    "dataclass": "from dataclasses import dataclass\nfrom enum import Enum\n@dataclass\nclass A:\n    x: int = 1\n"
    "class B(Enum):\n    X = 1\na = A()\n",
    "abstract": "import collections.abc\nclass A(collections.abc.Sized):\n    def __len__(self):\n        return 0\n"
    "print(isinstance(A(), collections.abc.Sized), isinstance([], collections.abc.Mapping), issubclass(A, A))\n",
    "registry": "import weakref\nclass A: pass\na = A()\nkept = weakref.WeakValueDictionary({1: a}), weakref.WeakSet([a])\n"
    "kept_too = weakref.WeakKeyDictionary({a: 1}), weakref.ref(a)\n",
    "closed_file": "with open(__file__) as text, open(__file__, 'rb') as binary, open('made', 'wb', 0) as raw:\n    text.read()\n",
    "file_in_memory": "import io\ntext, binary = io.StringIO('x'), io.BytesIO(b'x')\n",
    "caught": "try:\n    {}['a']\nexcept KeyError as error:\n    kept = error\n",
    "threads_that_ended": "import threading\nt = threading.Thread(target=len, args=('',))\nt.start()\nt.join()\n",
    "no_module": "import sys\nsys.modules['thing'] = object()\n",
    "local_module": "import local\nprint(local.X)\n",
    "generator_that_ended": "kept = (x for x in 'a')\nprint(*kept)\ndel kept\n",
}  # fmt: skip
SHOWS = {
    "del": "class A:\n    def __del__(self): pass\na = A()\n",
    "inherited_del": "class A:\n    def __del__(self): pass\nclass B(A):\n    __slots__ = ()\nb = [B()]\n",
    "del_out_of_sight": "class Meta(type):\n    def __getattribute__(self, name):\n        raise AttributeError(name)\n"
    "class A(metaclass=Meta):\n    __slots__ = ()\n    def __del__(self): pass\na = A()\n",
    "generator": "def f():\n    try:\n        yield\n    finally:\n        print('rest')\nkept = f()\nnext(kept)\n",
    "coroutine": "async def f(): pass\nkept = f()\n",
    "asynchronous_generator": "async def f():\n    yield\nkept = f()\n",
    "callback": "import weakref\nclass A: pass\na = A()\nkept = weakref.ref(a, lambda ref: print('gone'))\n",
    "callback_in_c": "import weakref\nclass A: pass\na = A()\nkept = weakref.ref(a, print)\n",
    "finalizer": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'gone')\n",
    "registered": "import atexit\natexit.register(print)\n",
    "registered_with_threads": "import threading\nthreading._register_atexit(print)\n",
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
    "open_file": "kept = open('made', 'w')\nkept.write('text')\n",
    "open_binary_file": "kept = open('made', 'wb')\n",
    "open_raw_file": "kept = open('made', 'wb', 0)\n",
    "temporary_directory": "import tempfile\nkept = tempfile.TemporaryDirectory(dir='.')\n",
    "archive": "import zipfile\nkept = zipfile.ZipFile('made', 'w')\n",
    "own_stdout": "import io, sys\nsys.stdout = io.StringIO()\n",
    "no_stdout": "import sys\nsys.stdout = None\n",
    "no_stderr": "import sys\ndel sys.stderr\n",
    "closed_stdout": "import sys\nsys.stdout.close()\n",
    "detached_stdout": "import sys\nkept = sys.stdout.detach()\n",
    "trace": "import sys\nsys.settrace(lambda *a: None)\n",
    "profile": "import sys\nsys.setprofile(lambda *a: None)\n",
    "audit": "import sys\nsys.addaudithook(lambda *a: None)\n",
    "collector": "import gc\n",
    "collector_hidden": "import gc, sys\ngc.callbacks.append(lambda *a: None)\ndel sys.modules['gc']\n",
    "warnings": "import os, warnings\nwarnings.simplefilter('always')\nkept = os.scandir('.')\n",
    "frozen": "import gc, sys\nkept = open('made', 'w')\nkept.write('text')\ngc.freeze()\ndel sys.modules['gc']\n",
    "all_frozen": "import sys\nfrom importlib.util import find_spec, module_from_spec\nspec = find_spec('gc')\ngc = module_from_spec(spec)\n"
    "spec.loader.exec_module(gc)\nkept = open('made', 'w')\ngc.freeze()\n",
    "code_of_shutdown": "import threading\nthreading._shutdown.__code__ = (lambda: print('gone')).__code__\n",
    "truth": "import builtins, os, warnings\nwarnings.simplefilter('always')\nbuiltins.bool = lambda found: True\nkept = os.scandir('.')\n",
    "c_module": "import _sqlite3\n",
    "hidden_c_module": "import sys, _sqlite3\ndel sys.modules['_sqlite3']\n",
    "no_threading": "import sys\nclass A:\n    _threading_atexits = ()\n    def _shutdown(self): print('gone')\n"
    "sys.modules['threading'] = A()\n",
    "threads_replaced": "import threading\nthreading._shutdown = lambda: print('gone')\n",
    "method_callback": "import sys, weakref\nclass A:\n    def f(self): pass\nsys.a = A()\nsys.kept = weakref.WeakMethod(sys.a.f, lambda ref: print('gone'))\n",
    "close_of_text_in_memory": "import io\nkept = io.StringIO()\nkept.close = lambda: print('gone')\n",
    "close_of_bytes_in_memory": "import io\nkept = io.BytesIO()\nkept.close = lambda: print('gone')\n",
    "close_of_stdout": "import sys\nsys.stdout.close = lambda: None\n",
    "close_of_buffer": "import sys\nsys.stderr.buffer.close = lambda: None\n",
    "close_of_descriptor": "import sys\nsys.stdin.buffer.raw.close = lambda: None\n",
    "flush_of_stdout": "import sys\nsys.stdout.flush = lambda: None\n",
    "builtins_replaced": "import builtins\nbuiltins.any = builtins.all = lambda found: False\nclass A:\n    def __del__(self): pass\na = A()\n",
    "modules_replaced": "import sys\nsys.modules = dict(sys.modules)\n",
    "end_of_a_class_that_was_there": "import threading\nthreading.Event.__del__ = lambda self: print('gone')\na = threading.Event()\n",
    "exit_text": "import sys\nsys.exit('text')\n",
    "exit_true": "import sys\nsys.exit(True)\n",
    "exit_large": "import sys\nsys.exit(256)\n",
    "exit_negative": "import sys\nsys.exit(-1)\n",
}  # fmt: skip


@pytest.mark.parametrize("program", HARMLESS)
def test_what_leaves_nothing_to_do_ends_at_once(tmp_path, program):
    (tmp_path / "local.py").write_text("import json, sys\nX = 1\nclass A: pass\n")
    code, said = ended(tmp_path, "import sys\nsys.path.insert(0, '.')\n" + HARMLESS[program])
    assert code == 0
    assert "not at once" not in said


@pytest.mark.parametrize("program", SHOWS)
def test_what_an_interpreter_shows_when_it_ends_is_left_to_it(tmp_path, program):
    assert ended(tmp_path, SHOWS[program])[1].endswith("not at once")


AWAITED = {
    "stop": "threading.main_thread()._stop = lambda: print('gone')\n",
    "stop_of_all": "threading.Thread._stop = lambda self: print('gone')\n",
    "lock": "threading._shutdown_locks.add(type('Lock', (), {'acquire': print, 'release': print})())\n",
}


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="since 3.13 the main thread's end is written in C")
@pytest.mark.parametrize("program", AWAITED)
def test_what_is_called_when_threads_are_waited_for_is_left_to_that(tmp_path, program):
    assert ended(tmp_path, f"import threading\n{AWAITED[program]}")[1].endswith("not at once")


def test_no_builtin_is_looked_up_where_a_program_may_have_put_another():
    module = Path(ROOT, "runner/sandbox/ending.py").read_text(encoding="utf-8")
    code, names = compile(module, "ending.py", "exec"), set()
    codes = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    while codes:
        one = codes.pop()
        names |= {each.argval for each in dis.get_instructions(one) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        codes += [each for each in one.co_consts if isinstance(each, types.CodeType)]
    asked_at_once = {"frozenset", "list"}  # by Ending itself, in the launcher
    assert names & vars(builtins).keys() <= vars(ending_module).keys() | asked_at_once


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
def test_who_monitors_sees_the_end(tmp_path):
    assert ended(tmp_path, "import sys\nsys.monitoring.use_tool_id(3, 'mine')\n")[1] == "not at once"


@pytest.mark.parametrize(("exits", "code"), [("sys.exit()", 0), ("sys.exit(0)", 0), ("sys.exit(75)", 75)])
def test_the_exit_code_is_the_programs_and_what_it_printed_is_written(tmp_path, exits, code):
    program = f"import sys\nprint('out', end='')\nprint('err', end='', file=sys.stderr)\n{exits}\n"
    assert ended(tmp_path, program) == (code, "errout")


def test_what_cannot_be_written_is_told_by_the_interpreter(tmp_path):
    program = "import os\nprint('out')\nos.close(1)\nos.open('/dev/full', os.O_WRONLY)\n"
    assert ended(tmp_path, program)[1] == "not at once"
