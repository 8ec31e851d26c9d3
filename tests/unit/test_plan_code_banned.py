"""The scan: which imports of a stage are faults, and how they are reported. No scanned code is run here."""

from __future__ import annotations

import pickle
import re
import time
from pathlib import Path

import pytest

from runner.errors import Fault
from runner.plan.code.banned import ALLOWED, BANNED, BanList, BannedImport, merged
from runner.plan.code.closure import Closures
from runner.plan.code.commands import python_files_among, python_files_of_command
from runner.plan.code.modules import running_interpreter
from runner.plan.code.sources import Sources
from runner.plan.digests import DigestCache

REPOSITORY = Path(__file__).resolve().parents[2]


class Code:
    """Files below a root, and the faults that the scan finds in programs among them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = DigestCache(clock=lambda: time.time_ns() + 10**12)
        self.interpreter = running_interpreter()

    def write(self, **files: str | bytes) -> Code:
        return self.write_all({f"{name}.py": content for name, content in files.items()})

    def write_all(self, files: dict[str, str | bytes]) -> Code:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def walk(self, starts, banned=(), allowed=(), pythonpath=""):
        """Return the faults of a program; for a banned import, `what` begins like `p.py:1: import socket`."""
        bans = BanList(banned, allowed)
        sources = Sources(str(self.root), self.cache)
        code = Closures(sources, self.interpreter, bans).of(tuple(starts), pythonpath)
        results = list(code.faults)
        for (path, line, statement), names in code.banned.items():
            chain = [f"{sources.shown(file)}:{at}" for file, at in code.chain(path, line)]
            results.append(BannedImport("s", statement, chain, bans.hint(names)))
        return results

    def faults(self, processor="p.py", **options):
        return self.walk(python_files_among((processor,), str(self.root)), **options)

    def of_command(self, *words, **options):
        return self.walk(python_files_of_command(words, str(self.root)), **options)

    def findings(self, text: str | bytes, **options) -> list[str]:
        """Return the first lines of the faults of a program with this text, without place and stage name."""
        self.write_all({"p.py": text})
        return [first_line(fault).partition(": ")[2] for fault in self.faults(**options)]


def first_line(fault):
    return fault.what.split("\n")[0]


@pytest.fixture
def code(tmp_path):
    return Code(tmp_path)


# ---- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "statement"),
    [
        ("import socket", ""),
        ("import socket as s", "import socket"),
        ("import os, socket", ""),
        ("import concurrent.futures, xmlrpc.client", ""),
        ("from socket import socket as S", "from socket import socket"),
        ("from urllib import parse, request", ""),
        ("from http import HTTPStatus", ""),
        ('__import__("socket")', "import socket"),
        ('__import__("soc" "ket")', "import socket"),
        ('__import__("urllib", fromlist=["request"])', "from urllib import request"),
    ],
)
def test_finds_every_form_of_import(code, line, statement):
    assert code.findings(f"import os\n{line}\n") == [statement or line]


@pytest.mark.parametrize(
    ("before", "call"),
    [
        ("import importlib", 'importlib.import_module("socket")'),
        ("import importlib", 'importlib.__import__("socket")'),
        ("from importlib import import_module as im", 'im("socket")'),
        ("import importlib; load = importlib.import_module", 'load("socket")'),
        ("import builtins as b", 'b.__import__("socket")'),
        ("from runpy import run_module", 'run_module(mod_name="socket")'),
    ],
)
def test_finds_modules_loaded_by_a_literal_name(code, before, call):
    assert code.findings(f"{before}\n{call}\n") == ["import socket"]


def test_a_module_loaded_by_a_relative_name_is_that_of_its_package(code):
    assert code.findings("from importlib import import_module\nimport_module('.request', package='urllib')\n") == [
        "import urllib.request"
    ]


def test_a_file_that_is_run_by_a_literal_path_is_read(code):
    code.write_all({"p.py": "import runpy\nrunpy.run_path('jobs/n.txt')\n", "jobs/n.txt": "import os\nimport socket\n"})
    (fault,) = code.faults()
    assert "jobs/n.txt:2: import socket\n  imported by p.py:2 -> jobs/n.txt:2" in fault.what


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import socket\n",
        "class A:\n    def f(self):\n        if self:\n            import socket\n",
        "try:\n    import socket\nexcept ImportError:\n    socket = None\n",
        "if False:\n    import socket\n",
        "import \u017focket\n",  # Python reads this letter as an s
    ],
)
def test_finds_an_import_wherever_it_stands(code, text):
    assert len(code.findings(text)) == 1


def test_names_file_line_and_chain(code):
    code.write_all(
        {
            "stages/upper.py": "import os\nimport helper\n",
            "stages/helper.py": "\n\nfrom pkg import part\n",
            "stages/pkg/__init__.py": "",
            "stages/pkg/part.py": "from requests import (\n    get,\n    post,\n)\n",
        }
    )
    (fault,) = code.faults("stages/upper.py")
    assert str(fault) == (
        "error: stage s imports a banned module: stages/pkg/part.py:1: from requests import get, post\n"
        "  imported by stages/upper.py:2 -> stages/helper.py:3 -> stages/pkg/part.py:1\n"
        'hint: drop the import, or allow it (and still have no network): "offline": {"allowImports": ["requests"]}'
    )


def test_a_star_import_of_a_local_module_leads_to_what_that_imports(code):
    code.write(p="from helper import *\n", helper="import socket\n")
    (fault,) = code.faults()
    assert fault.what == "helper.py:1: import socket\n  imported by p.py:1 -> helper.py:1"


def test_each_statement_is_reported_once_and_none_is_left_out(code):
    assert code.findings("import socket, ssl\nimport os, http\nimport socket\n") == [
        "import socket, ssl", "import os, http", "import socket",
    ]  # fmt: skip
    assert '["socket", "ssl"]' in code.faults()[0].hint


# ---- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("# coding: latin-1\nname = '\xe4'\nimport socket\n".encode("latin-1"), 3),
        (b"\xef\xbb\xbfimport socket\n", 1),
        (b"# -*- coding: utf-7 -*-\n+AGkAbQBwAG8AcgB0ACAAcwBvAGMAawBlAHQ-\n", 2),
        (b"import os\rimport socket\r", 2),
        (b"import os\r\n\r\nimport socket\r\n", 3),
        ("x = '\u2028'\nimport socket\n".encode(), 2),
    ],
)
def test_reads_bytes_as_python_does(code, content, line):
    assert code.findings(content) == ["import socket"]
    assert first_line(code.faults()[0]).startswith(f"p.py:{line}: ")


@pytest.mark.parametrize(
    "content",
    [
        "import os\n".encode("utf-16"),
        b"import os\n#\0\nimport socket\n",
        b"# coding: klingon\nimport os\n",
        b"# coding: rot13\nvzcbeg fbpxrg\n",
        b"name = '\xe4'\n",
        b"(" * 5000 + b")" * 5000,
        b"print 1\n",
    ],
)
def test_refuses_what_cannot_be_read(code, content):
    code.write(p=content)
    (fault,) = code.faults()
    assert re.match(r"p\.py(:\d+)?$", fault.where) and fault.what.startswith("invalid syntax") and fault.hint


# ---- what is no finding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import urllib.parse\n",
        "from urllib.parse import quote\n",
        "# import socket\n",
        '"""import socket"""\n',
        "socket = None\nsocket.create(1)\nself.socket = import_module\n",
        "import sockets, socket_tools, mysocket, httpd, urllib4\n",
        "import_module('socket')\n",  # from an unknown module
        "__import__(name)\n",
        "import re\nre.compile('import socket')\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import socket\n    from http import client\n",
        "import typing as t\nif t.TYPE_CHECKING:\n    import socket\n",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import socket\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING and x:\n    import socket\n",
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    pass\nelse:\n    import socket\n",
        "import runner.sdk\nfrom runner import sdk\n",
        "import runpy\nrunpy.run_path(path)\nrunpy.run_path('gone.py')\n",
        "import runpy\nrunpy.run_path('socket.py')\nrunpy.run_path('socket')\n",
    ],
)
def test_accepts_what_is_no_banned_import(code, text):
    assert code.findings(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import socket\n",
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import socket\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING or x:\n    import socket\n",
    ],
)
def test_imports_that_a_type_checking_guard_does_not_cover_count(code, text):
    assert code.findings(text)[-1:] == ["import socket"]


@pytest.mark.parametrize(
    "files",
    [
        {"p.py": "import socket", "socket.py": ""},
        {"p.py": "import requests", "requests/__init__.py": ""},
        {"p.py": "from requests import get", "requests/__init__.py": ""},
        {"p.py": "import requests.adapters", "requests/__init__.py": "", "requests/adapters.py": ""},
        {"p.py": "from mypkg import socket", "mypkg/__init__.py": "", "mypkg/socket.py": ""},
        {
            "p.py": "import mypkg.a",
            "mypkg/__init__.py": "",
            "mypkg/a.py": "from . import socket",
            "mypkg/socket.py": "",
        },
        {"p.py": "import mypkg.a", "mypkg/a.py": "from .socket import x", "mypkg/socket.py": ""},
        {"p.py": "from redis import part", "redis/part.py": ""},
    ],
)
def test_a_local_module_may_have_the_name_of_a_banned_one(code, files):
    assert code.write_all(files).faults() == []


def test_a_local_module_that_shadows_is_scanned_itself(code):
    code.write(p="import requests", requests="import urllib3, os")
    assert [first_line(fault) for fault in code.faults()] == ["requests.py:1: import urllib3, os"]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"bin/p.py": "import socket", "socket.py": ""}, "bin/p.py"),  # not beside the script
        ({"p.py": "import http", "http/notes.txt": ""}, "p.py"),  # a directory does not hide the standard module
        ({"p.py": "import mypkg.a", "mypkg/__init__.py": "", "mypkg/a.py": "import socket", "mypkg/socket.py": ""},
         "p.py"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_shadow_excuses_nothing(code, files, name):
    assert len(code.write_all(files).faults(name)) == 1


def test_what_pythonpath_makes_local_is_scanned_too(code):
    code.write_all({"p.py": "import a, ssl", "lib/a.py": "import socket", "lib/ssl.py": "", "lib/usercustomize.py": "",
                    "lib/sitecustomize.py": "import http"})  # fmt: skip
    lines = [first_line(fault) for fault in code.faults(pythonpath="lib")]
    assert sorted(lines) == ["lib/a.py:1: import socket", "lib/sitecustomize.py:1: import http"]
    (fault,) = code.write_all({"lib.zip": b"", "p.py": ""}).faults(pythonpath="lib.zip")
    assert fault.where == "lib.zip" and "imports cannot be known" in fault.what


# ---- where Python starts ---------------------------------------------------------------------------------------------


def test_text_and_modules_of_a_command_are_scanned(code):
    code.write_all({"pkg/__init__.py": "", "pkg/__main__.py": "import helper", "helper.py": "import socket"})
    assert [first_line(fault) for fault in code.of_command("python3", "-c", "import os\nimport socket as s")] == [
        "-c:2: import socket"
    ]
    assert [first_line(fault) for fault in code.of_command("python", "-Im", "http.server", "80")] == [
        "command:0: -m http.server"
    ]
    (fault,) = code.of_command("{python}", "-m", "pkg")
    assert fault.what == "helper.py:1: import socket\n  imported by pkg/__main__.py:1 -> helper.py:1"
    (fault,) = code.of_command("python3", "-c", "x = 1\nimport helper")
    assert fault.what.endswith("imported by -c:2 -> helper.py:1")


def test_a_cookie_means_nothing_in_the_text_of_a_command(code):
    for encoding in ("utf-8", "latin-1", "utf-16", "klingon"):
        text = f"# coding: {encoding}\nimport os\nname = '\xe4'\nimport ssl"
        assert [first_line(fault) for fault in code.of_command("python3", "-c", text)] == ["-c:4: import ssl"]


def test_a_local_module_after_m_is_no_finding(code):
    code.write_all({"http/__init__.py": "", "http/server.py": "", "socket.py": ""})
    assert code.of_command("python3", "-m", "http.server") == []
    assert code.of_command("python3", "-m", "socket") == []
    assert len(code.of_command("python3", "-I", "-m", "socket")) == 1


def test_scripts_are_scanned_whatever_they_are_called(code):
    code.write_all({"tool": "#!/usr/bin/env -S python3 -u\nimport socket\n", "plain": "import socket\n"})
    code.write_all({"real/s.py": "import beside\n", "real/beside.py": "import ssl\n", "app/__main__.py": "import http"})
    (code.root / "link").symlink_to("real/s.py")
    (code.root / "linked.py").symlink_to("tool")
    assert [first_line(fault) for fault in code.faults("tool")] == ["tool:2: import socket"]
    assert [first_line(fault) for fault in code.faults("linked.py")] == ["linked.py:2: import socket"]
    assert [first_line(fault) for fault in code.of_command("python3", "plain")] == ["plain:1: import socket"]
    assert [first_line(fault) for fault in code.of_command("python3", "link")] == ["real/beside.py:1: import ssl"]
    assert [first_line(fault) for fault in code.of_command("python3", "app")] == ["app/__main__.py:1: import http"]
    assert [first_line(fault) for fault in code.of_command("sh", "run.sh", "./tool")] == ["tool:2: import socket"]


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("app.pyz", EMPTY_ZIP, ["python3", "app.pyz"]),
        ("app", EMPTY_ZIP, ["python3", "app"]),
        ("app", b"#!/usr/bin/env python3\n" + EMPTY_ZIP, ["./app"]),
        ("app.py", b"import os\n#" + EMPTY_ZIP, ["python3", "app.py"]),
        ("p.pyc", b"", ["python3", "p.pyc"]),
        ("app/__main__.pyc", b"", ["python3", "app"]),
        ("mod.pyc", b"", ["python3", "-m", "mod"]),
        ("pkg/__init__.pyc", b"", ["python3", "-c", "import pkg"]),
    ],
)
def test_what_is_no_source_is_refused(code, name, content, words):
    (fault,) = code.write_all({name: content}).of_command(*words)
    assert fault.where == name and fault.what.endswith("whose imports cannot be known") and fault.hint


def test_an_archive_that_is_only_data_is_no_fault(code):
    code.write_all({"data.zip": EMPTY_ZIP, "p.py": ""})
    assert code.of_command("python3", "p.py", "data.zip") == code.of_command("unzip", "data.zip") == []


# ---- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("banned", "allowed", "passes", "fails"),
    [
        ((), ("http.client",), "http.client http.client.HTTPSConnection", "http http.server"),
        ((), ("http",), "http http.client", "urllib.request"),
        (("http.server",), ("http",), "http http.client", "http.server http.server.X"),
        (("http",), ("http.client",), "http.client", "http http.server"),
        (("json",), ("json.tool",), "json.tool", "json json.decoder"),
        (("mypkg.net",), (), "mypkg mypkg.network", "mypkg.net mypkg.net.x"),
        (("urllib",), (), "", "urllib urllib.parse"),
        (("urllib.parse",), (), "", "urllib.parse urllib.parse.quote"),
        ((), ("urllib",), "urllib urllib.request", "http"),
        (("paramiko",), ("paramiko",), "", "paramiko"),
        (
            (),
            (),
            "urllib.parse urllib.parse.quote google google.protobuf",
            "urllib urllib.request google.cloud.storage",
        ),
    ],
)
def test_the_most_specific_name_counts_and_the_spec_before_the_list(banned, allowed, passes, fails):
    rules = BanList(banned, allowed)
    assert [name for name in passes.split() if rules.bans(name)] == []
    assert [name for name in fails.split() if not rules.bans(name)] == []


def test_the_spec_may_relax_and_extend(code):
    assert code.findings("from http import client, server\n", allowed=["http.client"]) == [
        "from http import client, server"
    ]
    assert code.faults(allowed=["http.client"])[0].hint.endswith('{"allowImports": ["http.server"]}')
    assert code.findings("from http import client\nimport http.client\n", allowed=["http.client"]) == []
    assert code.findings("import json.decoder\n", banned=["json"]) == ["import json.decoder"]
    assert code.faults(banned=["json"])[0].hint == (
        'drop the import, or take "json" out of "offline": {"bannedImports": [...]}'
    )


def test_the_spec_may_ban_a_local_module_and_the_list_does_not(code):
    code.write_all({"p.py": "from legacy import net\n", "legacy/__init__.py": "", "legacy/net.py": ""})
    assert code.faults() == []
    assert [first_line(fault) for fault in code.faults(banned=["legacy.net"])] == ["p.py:1: from legacy import net"]


def test_our_own_modules_are_never_a_fault(code):
    code.interpreter = code.interpreter._replace(site=())  # where another release may be installed
    assert code.findings("import runner.sdk\nfrom runner import sdk\n", banned=["runner", "runner.sdk"]) == []


@pytest.mark.parametrize(
    ("line", "allow"),
    [
        ("import http.client", "http.client"),
        ("from http.client import HTTPConnection", "http.client"),
        ("from urllib import request", "urllib.request"),
        ("from socket import socket", "socket"),
        ("import requests.adapters", "requests"),
        ("from google.cloud import storage", "google.cloud"),
    ],
)
def test_following_the_hint_helps(code, line, allow):
    code.findings(line)
    assert f'["{allow}"]' in code.faults()[0].hint
    assert code.findings(line, allowed=[allow]) == []


# ---- many stages -----------------------------------------------------------------------------------------------------


def fault_of(stage, place="h.py:1"):
    return BannedImport(stage, "import socket", [f"{stage}.py:1", place], "drop it")


def test_a_finding_that_stages_share_is_one_block():
    other = Fault("a.py:1", "invalid syntax")
    faults = [
        fault_of("a"),
        other,
        fault_of("b"),
        other,
        fault_of("a", "z.py:2"),
        *(fault_of(f"s{n}") for n in range(998)),
    ]
    first, second, third = merged(faults)
    assert first.what.split("\n") == [
        "h.py:1: import socket",
        "  imported by a.py:1 -> h.py:1",
        "  999 more stages import it: b, s0, s1, s2, s3, s4, s5, s6 and 991 more",
    ]
    assert second == other and third == fault_of("a", "z.py:2")
    assert merged([fault_of("a"), fault_of("a")]) == (fault_of("a"),)


def test_a_finding_survives_pickling():
    again = pickle.loads(pickle.dumps(fault_of("a")))
    assert again == fault_of("a") and again.statement == "h.py:1: import socket"


# ---- our own code, and the documentation ----------------------------------------------------------------------------


@pytest.mark.full
def test_the_core_and_the_ready_made_stages_pass():
    code = Code(REPOSITORY)
    files = [path for folder in ("runner", "stages") for path in (REPOSITORY / folder).rglob("*.py")]
    paths = [path for path in files if path.parent.name != "cluster"]  # whose purpose is to connect
    assert len(paths) > 80
    starts = [*python_files_among(map(str, paths), "/")]
    assert len(starts) == len(paths) and code.walk(starts) == []


def test_the_documented_table_is_the_list():
    text = (REPOSITORY / "docs" / "offline-guard.md").read_text()
    section = text.partition("## The scan")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|`]+?) \| (`[^|]+) \|$", section, re.MULTILINE)
    documented = {group: tuple(re.findall(r"`([^`]+)`", names)) for group, names in rows}
    assert documented == BANNED
    assert all(f"`{name}`" in section for name in ALLOWED)


def test_the_list_names_nothing_twice():
    names = [name for group in BANNED.values() for name in group]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.rpartition(".")[0] in names]


@pytest.mark.parametrize(
    ("allowed", "of_use"),
    [
        ("socket", True),
        ("http.client", True),
        ("google", True),
        ("pandas.io", True),
        ("sockets", False),
        ("json", False),
    ],
)
def test_allowing_what_nothing_bans_is_of_no_use(allowed, of_use):
    assert BanList(("pandas",), (allowed,)).has_effect(allowed) == of_use
