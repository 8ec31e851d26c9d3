# ruff: noqa: E501 - programs in a line each
"""Programs that inspect their interpreter, or end in every possible way; each runs forked and in a fresh one."""

import sys

MORE_INTERPRETERS = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
STATE = """
import json, os, signal, sys
import helper
hidden = ("PIPELINE_", "TMPDIR")
frames, frame = [], sys._getframe()
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "name": __name__, "file": __file__,
    "main": {key: repr(value) for key, value in vars(sys.modules["__main__"]).items() if key.startswith("__")
             and key not in ("__loader__", "__builtins__")},
    "loader": [type(__loader__).__name__, __loader__.name, __loader__.path],
    "flags": str(sys.flags), "cwd": os.getcwd(), "executable": sys.executable,
    "prefix": [sys.prefix, sys.exec_prefix, sys.base_prefix], "warnoptions": sys.warnoptions, "x": sys._xoptions,
    "bytecode": sys.dont_write_bytecode, "meta_path": [str(one) for one in sys.meta_path],
    "hooks": [len(sys.path_hooks), sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__],
    "importers": sorted(set(sys.path_importer_cache).difference(
        *(getattr(module, "__path__", ()) for module in sys.modules.values()))), "import": __import__.__name__,
    "descriptors": sorted(os.listdir("/proc/self/fd"))[:-1],
    "env": {name: value for name, value in os.environ.items() if not name.startswith(hidden)}, "order": [
        name for name in os.environ if not name.startswith(hidden)],
    "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    "mask": [str(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())], "wakeup": signal.set_wakeup_fd(-1),
    "streams": [(one.encoding, one.errors, one.name, one.mode, one.line_buffering, one.write_through, repr(one),
                 one.newlines, one.isatty(), repr(one.buffer), one.buffer.raw.name, one.buffer.raw.closefd)
                for one in (sys.stdin, sys.stdout, sys.stderr)],
    "same": [sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
    "umask": os.umask(0o22), "nice": os.nice(0), "session": os.getsid(0) == os.getpid(), "group": os.getpgrp() == os.getpid(),
    "recursion": sys.getrecursionlimit(), "interval": sys.getswitchinterval(), "encodings": [
        sys.getdefaultencoding(), sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()],
}, indent=1))
"""

PROBES = {
    "state": STATE,
    "nothing": "",
    "imports": """
import argparse, collections.abc, csv, dataclasses, datetime, decimal, gzip, hashlib, inspect, json, os.path, pathlib
import random, re, shutil, sqlite3, statistics, subprocess, sys, tempfile, threading, typing, uuid, xml.etree.ElementTree
print(threading.main_thread() is threading.current_thread(), threading.current_thread().ident == threading.get_ident())
print(threading.main_thread().native_id == threading.get_native_id(), len(threading.enumerate()))
print(sqlite3.connect(":memory:").execute("select 1 + 1").fetchall(), decimal.getcontext())
print(tempfile.gettempdir().rpartition("/")[0].rpartition("/")[0], subprocess.run(["true"]).returncode)
""",
    "later": "import sys\ndef f():\n    import json\n    return json\nf(); print('json' in sys.modules)\n",
    "not_pure": "import sys, logging, multiprocessing, asyncio, zoneinfo, locale\n"
    "print(multiprocessing.process.ORIGINAL_DIR, locale.getlocale(), locale.setlocale(locale.LC_CTYPE))\n",
    "inner": "import html.parser, importlib.util, collections.abc, tempfile, uuid, zipfile, html.entities\n",  # for the next probe
    "outer": "import html, importlib, collections\n"
    "print([callable(one) for one in (html.escape, importlib.import_module, collections.OrderedDict)])\n",
    "outer_again": "import html, importlib, importlib.util\nprint(hasattr(importlib, 'util'))\n",
    "outer_sdk": "from runner import sdk\nimport runner\nprint(runner.__file__, runner.sdk is sdk)\n",
    "array": "import array\nprint(array.array('b', [1]))\n",
    "sdk": "import sys\nfrom runner import sdk\nprint(sdk.__name__ in sys.modules, sdk.__file__)\n",
    "site": "import sys, site\nprint(site.ENABLE_USER_SITE, site.PREFIXES, site.getsitepackages(), exit, help)\n",
    "ctypes": "import ctypes\nprint(ctypes.CDLL(None).getpid() > 0)\n",
    "local": "import sys, helper\nprint(helper.WHO, helper.__name__, sys.modules['helper'] is helper)\n",
    "globals": "print(sorted(globals()), __builtins__.__name__, __doc__, __package__, __spec__)\n",
    "docstring": "'''What it says.'''\nfrom __future__ import annotations\nx: int = 1\nprint(__doc__, __annotations__)\n",
    "latin": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n",
    "bom": b"\xef\xbb\xbfprint('after the mark')\n",
    "pickle": "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__ is A, pickle.dumps(A()))\n",
    "exit_3": "import sys\nsys.exit(3)\n",
    "exit_text": "import sys\nsys.exit('what went wrong')\n",
    "exit_none": "import sys\nsys.exit()\n",
    "exit_true": "import sys\nsys.exit(True)\n",
    "exit_large": "import sys\nsys.exit(1025)\n",
    "exit_negative": "import sys\nsys.exit(-1)\n",
    "exit_tuple": "import sys\nsys.exit((1, 'two'))\n",
    "exit_float": "import sys\nsys.exit(2.0)\n",
    "exit_builtin": "exit(7)\n",
    "raise_exit": "raise SystemExit(9)\n",
    "exit_at_once": "import os\nprint('lost', end='')\nos._exit(5)\n",
    "abort": "import os\nprint('seen', flush=True)\nos.abort()\n",
    "segfault": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "term": "import os, signal\nprint('seen', flush=True)\nos.kill(os.getpid(), signal.SIGTERM)\n",
    "hup": "import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\n",
    "int": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)\n",
    "keyboard": "import atexit\natexit.register(print, 'at the end')\nraise KeyboardInterrupt\n",
    "keyboard_text": "raise KeyboardInterrupt('by hand')\n",
    "pipe": "import os\nr, w = os.pipe()\nos.close(r)\ntry:\n    os.write(w, b'x')\nexcept BrokenPipeError as error:\n    print(error)\n",
    "pipe_child": "import subprocess\nprint(subprocess.run('yes | head -n 1; echo ${PIPESTATUS[*]}', shell=True, executable='bash',"
    " capture_output=True).stdout)\n",
    "error": "def f(x):\n    return 1 / x\nprint('before')\nf(0)\n",
    "error_chain": "try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('b') from error\n",
    "error_context": "try:\n    {}['a']\nexcept KeyError:\n    int('x')\n",
    "error_group": "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])\n",
    "error_notes": "e = ValueError('x')\ne.add_note('a note')\nraise e\n",
    # Prints no depth: in a fork it is one frame less, because the launcher's program is below.
    "error_recursion": "import sys\ndef f():\n    f()\ntry:\n    f()\nexcept RecursionError as error:\n    sys.exit(str(error))\n",
    "error_name": "prnt('x')\n",
    "error_import": "import no_such_module_anywhere\n",
    "error_unprintable": "class E(Exception):\n    def __str__(self):\n        raise ValueError\nraise E\n",
    "error_hook": "import sys\nsys.excepthook = lambda kind, value, trace: print('hook', kind, value, trace.tb_lineno, trace.tb_next)\n1 / 0\n",
    "error_hook_fails": "import sys\ndef hook(*a):\n    raise TypeError('in the hook')\nsys.excepthook = hook\n1 / 0\n",
    "error_hook_missing": "import sys\ndel sys.excepthook\n1 / 0\n",
    "error_hook_none": "import sys\nsys.excepthook = None\n1 / 0\n",
    "error_hook_fails_without_stderr": "import sys\nsys.stderr = None\nsys.excepthook = lambda *a: 1 / 0\nraise KeyboardInterrupt\n",
    "end_file_held_by_a_class": "import json, os\njson.JSONEncoder.default = lambda self, o: str(o)\nkept = open(os.dup(1), 'w')\nkept.write('written at the end')\n",
    "end_file_held_by_a_class_error": "import json, os\njson.JSONEncoder.default = lambda self, o: str(o)\nkept = open(os.dup(1), 'w')\nkept.write('written at the end')\n1 / 0\n",
    "end_file_held_by_a_class_exit": "import json, os\njson.JSONEncoder.default = lambda self, o: str(o)\nkept = open(os.dup(1), 'w')\nkept.write('written at the end')\nraise SystemExit(3)\n",
    "end_file_held_by_a_class_own_exit": "import json, os\njson.JSONEncoder.default = lambda self, o: str(o)\nkept = open(os.dup(1), 'w')\nkept.write('written at the end')\nclass E(SystemExit): pass\nraise E(3)\n",
    "end_file_held_by_a_class_watched": "import json, os\njson.JSONEncoder.default = lambda self, o: str(o)\nkept = open(os.dup(1), 'w')\nkept.write('written at the end')\n# settrace\n",
    "end_file_held_by_a_class_left": "import json, os\njson.JSONEncoder.default = lambda self, o: str(o)\nkept = open(os.dup(1), 'w')\nkept.write('written at the end')\nimport atexit\natexit.register(print, 'first')\n",
    "end_of_a_class_of_the_library": "import argparse\nargparse.Namespace.__del__ = lambda self: print('gone')\nkept = argparse.Namespace()\n",
    "error_hook_exits": "import sys\ndef hook(*a):\n    sys.exit(8)\nsys.excepthook = hook\n1 / 0\n",
    "error_caught": "import sys, traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n    print(sys.exc_info()[2].tb_frame.f_code.co_filename)\n",
    "error_at_exit": "import atexit\n@atexit.register\ndef f():\n    raise ValueError('late')\n",
    "exit_at_exit": "import atexit, sys\n@atexit.register\ndef f():\n    sys.exit(4)\n",
    "exit_after_error": "import atexit, os\natexit.register(lambda: print('at the end'))\n1 / 0\n",
    "error_thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='worker')\nt.start()\nt.join()\nprint('on')\n",
    "syntax_return": "return 1\n",
    "warning": "import warnings\nwarnings.warn('deprecated', DeprecationWarning)\nwarnings.warn('user')\nx = '\\\\d'\n",
    "invalid_escape": "x = '\\d'\nassert (1, 'x')\n",
    "atexit": "import atexit\natexit.register(print, 'first')\natexit.register(print, 'second')\nprint('body')\n",
    "thread": "import threading, time\ndef f():\n    time.sleep(0.05)\n    print('from the thread')\nthreading.Thread(target=f).start()\nprint('body')\n",
    "daemon": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('body')\n",
    "pool_threads": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(3) as p:\n    print(list(p.map(len, ['a', 'bb'])))\n",
    "pool_fork": "import multiprocessing as m\ndef f(x):\n    return x * x\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p:\n        print(p.map(f, range(5)))\n",
    "pool_spawn": "import multiprocessing as m\ndef f(x):\n    return x * x\nif __name__ == '__main__':\n    with m.get_context('spawn').Pool(2) as p:\n        print(p.map(f, range(5)))\n",
    "process_executor": "from concurrent.futures import ProcessPoolExecutor\ndef f(x):\n    return -x\nif __name__ == '__main__':\n    with ProcessPoolExecutor(2) as p:\n        print(list(p.map(f, [1, 2])))\n",
    "fork": "import os, sys\nprint('before', flush=True)\npid = os.fork()\nif pid == 0:\n    print('child')\n    sys.exit(3)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    "child_python": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys; print(sys.flags, sys.path)'], capture_output=True, text=True).stdout)\n"
    "print(subprocess._args_from_interpreter_flags())\n",
    "child_env": "import os, subprocess\nos.environ['ADDED'] = 'x'\ndel os.environ['LANG']\nprint(subprocess.run(['env'], capture_output=True, text=True).stdout.count('ADDED'),"
    " subprocess.run('echo $ADDED$LANG', shell=True, capture_output=True).stdout)\n",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    started = await asyncio.create_subprocess_exec('true')\n    return await started.wait()\nprint(asyncio.run(f()))\n",
    "stdin": "import sys\nprint(repr(sys.stdin.read()), sys.stdin.fileno())\n",
    "no_newline": "print('no newline', end='')\n",
    "mixed": "import sys\nprint('out 1')\nprint('err 1', file=sys.stderr)\nsys.stdout.flush()\nprint('err 2', file=sys.stderr)\nprint('out 2')\n",
    "much": "for i in range(20000):\n    print(i)\n",
    "bytes": "import sys\nsys.stdout.buffer.write(b'\\xff\\x00')\nprint('\\udcff', '\\u20ac')\n",
    "unencodable": "print('\\ud800')\n",
    "closed_stdout": "import sys\nprint('x')\nsys.stdout.close()\n",
    "closed_descriptor": "import os, sys\nprint('x')\nos.close(1)\n",
    "time": "import time, os\nprint(time.tzname, time.timezone, time.localtime(0)[:5])\nos.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()\nprint(time.localtime(0)[:5])\n",
    "interpreters": f"import {MORE_INTERPRETERS} as more\n"
    "print('made', flush=True)\nmore.run_string(more.create(), 'import sys; print(sys.path[:2], flush=True)')\n",
    "gc": "import gc\nprint(gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.get_debug())\n",
    "resource": "import resource\nprint([(name, resource.getrlimit(getattr(resource, name))) for name in dir(resource) if name.startswith('RLIMIT_') and name != 'RLIMIT_RTTIME'])\n",
    "status": "keep = ('Name', 'Umask', 'Uid', 'Gid', 'Groups', 'Threads', 'SigQ', 'SigPnd', 'ShdPnd', 'SigBlk', 'SigIgn', 'SigCgt', 'CapInh', 'CapPrm', 'CapEff',"
    " 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Seccomp_filters')\nprint([line for line in open('/proc/self/status') if line.split(':')[0] in keep])\n"
    "import os\nprint(os.access('/proc/self/mem', os.R_OK), os.path.exists('/proc/self/fd/1'), len(os.listdir('/proc/self/task')))\n",
    "devices": "print(open('/dev/stdin').read(), file=open('/dev/stdout', 'a'))\n",
    "runpy": "import runpy\nprint(runpy.run_path('helper.py')['WHO'])\n",
    "frames": "import sys, inspect\ndef f():\n    return [one.function for one in inspect.stack()][:2]\nprint(f(), sys._getframe().f_code.co_name, sys._getframe().f_globals is globals())\n",
    "linecache": "import linecache, inspect\ndef f():\n    pass\nprint(inspect.getsource(f), linecache.getline(__file__, 1))\n",
    "weakrefs": "import weakref\nclass A:\n    def __del__(self):\n        print('deleted')\na = A()\nweakref.finalize(a, print, 'finalized')\n",
    "module_del": "class A:\n    def __del__(self):\n        print('deleted at the end')\nkept = A()\n",
    "main_import": "import __main__\nprint(__main__.__name__, __main__.__file__ == __file__, vars(__main__) is globals())\n",
    "unraisable": "class A:\n    def __del__(self):\n        1 / 0\nA()\nprint('on')\n",
    "faulthandler": "import faulthandler\nprint(faulthandler.is_enabled())\n",
    "hash": "print(hash('a') == hash('a'), {}.__hash__)\n",
    "threads_at_exit": "import threading, atexit\natexit.register(print, 'at exit')\nprint(threading.active_count())\n",
    "signal_handler": "import os, signal\nsignal.signal(signal.SIGUSR1, lambda number, frame: print('handled', number))\nos.kill(os.getpid(), signal.SIGUSR1)\nprint('on')\n",
    "alarm": "import signal, time\nsignal.alarm(1)\ntime.sleep(10)\n",
    # What an interpreter does at its end. A forked stage must do it too, wherever there is something to do.
    "end_open_text": "kept = open('/dev/stdout', 'a')\nkept.write('never flushed\\n')\n",
    "end_open_binary": "kept = open('/dev/stdout', 'ab')\nkept.write(b'never flushed\\n')\ndef f():\n    return kept\n",
    "end_open_elsewhere": "import json\njson.kept = open('/dev/stdout', 'a')\njson.kept.write('never flushed\\n')\n",
    "end_open_local": "import helper\nhelper.kept = open('/dev/stdout', 'a')\nhelper.kept.write('never flushed\\n')\n",
    "end_generator": "def f():\n    try:\n        yield\n    finally:\n        print('the rest')\nkept = f()\nnext(kept)\n",
    "end_generator_in_exit": "import sys\ndef f():\n    try:\n        yield\n    finally:\n        print('the rest')\ndef main():\n"
    "    kept = f()\n    next(kept)\n    sys.exit(3)\nmain()\n",
    "end_context": "import contextlib\n@contextlib.contextmanager\ndef f():\n    yield\n    print('the rest')\nkept = f()\nkept.__enter__()\n",
    "end_coroutine": "async def f(): pass\nkept = f()\n",
    "end_del": "class A:\n    def __del__(self):\n        import sys\n        print('deleted', sys.is_finalizing())\nkept = [A()]\nkept.append(kept)\n",
    "end_del_slots": "class A:\n    __slots__ = ()\n    def __del__(self):\n        print('deleted')\nkept = A()\n",
    "end_del_class": "class M(type):\n    def __del__(self):\n        print('deleted')\nclass A(metaclass=M): pass\n",
    "end_callback": "import weakref\nclass A: pass\nkept = A()\nref = weakref.ref(kept, lambda ref: print('gone'))\n",
    "end_callback_c": "import weakref\nclass A: pass\nkept = A()\nref = weakref.ref(kept, print)\n",
    "end_gc_callback": "import gc\ngc.callbacks.append(lambda phase, info: print(phase))\n",
    # A profile function that is left on also sees the frames below the program, but not their calls.
    "end_profile": "import sys\nsys.setprofile(lambda frame, event, arg: print(event, frame.f_code.co_name) if event != 'return' else 0)\nlen('')\n",
    "end_trace": "import sys\nsys.settrace(lambda frame, event, arg: print(event, frame.f_code.co_name))\n(lambda: 0)()\n",
    "end_audit": "import sys\nsys.addaudithook(lambda event, args: print(event, flush=True))\n",
    "end_threading": "import threading\nthreading._register_atexit(print, 'registered')\n",
    "end_thread_after": "import threading, time\ndef f():\n    threading.main_thread().join()\n    print('after the main thread')\nthreading.Thread(target=f).start()\n",
    "end_warns": "import os, warnings\nwarnings.simplefilter('always')\nkept = os.scandir('.')\nopen(__file__)\nother = open(__file__)\n",
    "end_stdout_other": "import io, sys\nsys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False))\nprint('by another way')\n",
    "end_stdout_none": "import sys\nprint('before')\nsys.stdout = None\n",
    "end_stdout_gone": "import sys\nprint('before')\ndel sys.stdout, sys.__stdout__\n",
    "end_stdout_detached": "import sys\nprint('before')\nkept = sys.stdout.detach()\n",
    "end_stdout_full": "import os\nprint('before')\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n",
    "end_stdout_pipe": "import os\nprint('before')\nr, w = os.pipe()\nos.dup2(w, 1)\nos.close(r)\nos.close(w)\n",
    "end_temporary": "import os, tempfile\nkept = tempfile.TemporaryDirectory(), tempfile.NamedTemporaryFile()\nprint(len(os.listdir(os.environ['TMPDIR'])))\n",
    "end_archive": "import gzip\nkept = gzip.open('/dev/stdout', 'wb', mtime=0) if 0 else gzip.GzipFile('x', 'wb', fileobj=open('/dev/stdout', 'ab'), mtime=0)\n"
    "kept.write(b'text')\n",
    "end_logging": "import logging, logging.handlers\nmemory = logging.handlers.MemoryHandler(9, target=logging.StreamHandler())\n"
    "logging.getLogger().addHandler(memory)\nlogging.warning('kept in memory')\n",
    "end_sqlite": "import sqlite3\nkept = sqlite3.connect(':memory:')\nkept.execute('create table t (x)')\n",
    "end_ctypes": "import ctypes\nctypes.CDLL(None).puts(b'in the buffers of libc')\n",
    "end_queue": "import multiprocessing\nif __name__ == '__main__':\n    q = multiprocessing.get_context('fork').Queue()\n    q.put(1)\n    print(q.get())\n",
    "end_futures": "from concurrent.futures import ThreadPoolExecutor\nimport time\npool = ThreadPoolExecutor(1)\npool.submit(time.sleep, 0.01)\npool.submit(print, 'in the pool')\n",
    "end_exit_subclass": "class E(SystemExit):\n    code = 6\nraise E\n",
    "end_exit_changed": "try:\n    raise SystemExit(1)\nexcept SystemExit as error:\n    error.code = 5\n    raise\n",
    "end_exit_finally": "import sys\ntry:\n    sys.exit(3)\nfinally:\n    print('finally', end='')\n",
    "end_fork": "import os, sys\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nprint('child' if pid == 0 else 'parent')\nsys.exit(2)\n",
    "end_inspect": "import os\nos.environ['PYTHONINSPECT'] = '1'\nprint('on')\n",
    "end_order": "import sys\nprint('out')\nprint('err', end='', file=sys.stderr)\n",
    "end_link": "import os, sys\nprint(os.path.basename(sys.path[0]), sys.argv[0] == __file__)\n",
}
