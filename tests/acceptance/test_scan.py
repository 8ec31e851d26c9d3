"""A stage that imports a network module is refused before anything else happens, by every verb that plans."""

from __future__ import annotations

import base64
import json
import os

import pytest

WRITES = "import os; open(os.environ['PIPELINE_OUTPUT_OUT'], 'w').write('x')\n"
REFUSED = 4


def stage(name, **fields):
    return {"name": name, "outputs": {"out": f"out/{name}.txt"}, **fields}


def everything(bench):
    return sorted(str(path.relative_to(bench.root)) for path in bench.root.rglob("*") if path.name != "__pycache__")


@pytest.fixture
def refused(bench):
    bench.write("stages/helper.py", "import os\nimport zlib\n\nimport socket\n")
    bench.write("stages/upper.py", f"import helper\n{WRITES}")
    bench.write("stages/lower.py", f"import helper\n{WRITES}")
    bench.write("stages/clean.py", WRITES)
    bench.define(
        stage("clean", processor="stages/clean.py"),
        stage("upper", processor="stages/upper.py", inputs={"in": "out/clean.txt"}),
        stage("lower", processor="stages/lower.py", inputs={"gone": "gone.txt"}),
        stage("text", command=["python3", "-c", "import os\nfrom urllib import request"]),
        stage("serve", command=["python3", "-m", "http.server"]),
        stage("after", command=["python3", "app.pyz"], inputs={"in": "out/serve.txt"}),
    )
    bench.write("app.pyz", b"PK\x05\x06" + bytes(18))
    return bench


@pytest.mark.parametrize("words", [(), ("plan",), ("validate",), ("explain", "clean"), ("status",), ("-n",), ("-f",)])
def test_all_findings_are_reported_at_once_and_nothing_is_written(refused, words):
    before = everything(refused)
    done = refused.run(*words)
    assert done.returncode == REFUSED and done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")][:5] == [
        "error: stage upper imports a banned module: stages/helper.py:4: import socket",
        "error: stage text imports a banned module: -c:2: from urllib import request",
        "error: stage serve imports a banned module: command: -m http.server",
        "error: app.pyz: is a zip file, whose imports cannot be known",
        f'error: {refused.spec}#/stages/2/inputs/gone: "gone.txt": no such file',
    ]
    first = lines.index("error: stage upper imports a banned module: stages/helper.py:4: import socket")
    assert lines[first + 1 : first + 4] == [
        "  imported by stages/upper.py:1 -> stages/helper.py:4",
        "  1 more stage imports it: lower",
        'hint: drop the import, or allow it (and still have no network): "offline": {"allowImports": ["socket"]}',
    ]
    ledger = {path for path in everything(refused) if "state" in str(path)}
    assert [path for path in everything(refused) if path not in ledger] == before and refused.has_only_refused()


def test_findings_are_faults_in_json_too(refused):
    done = refused.run("--json")
    assert done.returncode == REFUSED
    assert "imports a banned module" in done.stdout and json.loads(done.stdout)


def test_stages_that_are_not_selected_do_not_count(refused):
    refused.succeed("run", "clean")
    assert refused.run("run", "upper").returncode == REFUSED
    assert refused.read("out/clean.txt") == b"x"


@pytest.mark.full
def test_a_longer_list_of_banned_imports_counts_although_all_is_up_to_date(bench):
    bench.write("p.py", f"import decimal\n{WRITES}")
    bench.define(stage("a", processor="p.py"))
    bench.succeed()
    assert bench.skips_everything()
    bench.define(stage("a", processor="p.py"), offline={"bannedImports": ["decimal"]})
    before = everything(bench)
    done = bench.run()
    assert done.returncode == REFUSED and "p.py:1: import decimal" in done.stderr and "bannedImports" in done.stderr
    assert everything(bench) == before
    bench.define(stage("a", processor="p.py"))
    assert bench.skips_everything()  # what may be imported is no part of the key


def test_python_among_the_arguments_of_a_processor_is_scanned(bench):
    bench.write("run.sh", "#!/bin/sh\nexec python3 $1\n", 0o755)
    bench.write("tool.py", f"import socket\n{WRITES}")
    bench.define(stage("a", processor="run.sh", args=["tool.py"]))
    done = bench.run()
    assert done.returncode == REFUSED and "tool.py:1: import socket" in done.stderr


def test_what_the_hint_says_helps(bench):
    bench.write("p.py", f"try:\n    import ssl\nexcept ImportError:\n    ssl = None\n{WRITES}")
    bench.define(stage("a", processor="p.py"))
    done = bench.run()
    assert done.returncode == REFUSED and '"offline": {"allowImports": ["ssl"]}' in done.stderr
    bench.define(stage("a", processor="p.py"), offline={"allowImports": ["ssl"]})
    bench.succeed()


def test_code_that_changes_while_the_run_is_on_is_scanned_before_it_starts(bench):
    edit = "printf 'import socket\\n' > late.py; : > $PIPELINE_OUTPUT_OUT; echo 1 > $PIPELINE_OUTPUT_OUT"
    bench.write("late.py", WRITES)
    bench.define(
        stage("edit", command=["sh", "-c", edit]),
        stage("late", command=["python3", "late.py"], inputs={"in": "out/edit.txt"}),
    )
    done = bench.run()
    assert done.returncode == REFUSED and "late.py:1: import socket" in done.stderr
    assert [record["data"]["stage"] for record in bench.records("attempt.started")] == ["edit"]


HIDDEN = b"# -*- coding: utf-7 -*-\n+" + base64.b64encode("import socket".encode("utf-16-be")).rstrip(b"=") + b"-\n"


@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    "content",
    [HIDDEN, "import socket".encode("utf-16"), b"import os\0\nimport socket\n", b"# coding: klingon\nimport os\n"],
)
def test_no_encoding_hides_anything(bench, content):
    bench.write("p.py", content)
    bench.define(stage("a", processor="p.py"))
    done = bench.run()
    assert done.returncode == REFUSED and "error: " in done.stderr and "hint: " in done.stderr
    assert os.listdir(bench.root / "out") == [] if (bench.root / "out").exists() else True


def test_a_module_of_ones_own_may_be_called_socket_and_types_may_be_imported(bench):
    bench.write("stages/socket.py", "NAME = 'x'\n")
    bench.write("stages/pkg/__init__.py", "from . import ssl\n")
    bench.write("stages/pkg/ssl.py", "")
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import requests\n"
    bench.write(
        "stages/p.py",
        f"{guarded}import socket, pkg, urllib.parse\n{WRITES.replace(chr(39) + 'x', 'socket.NAME + ' + chr(39))}",
    )
    bench.define(stage("a", processor="stages/p.py"))
    bench.succeed()
    assert bench.read("out/a.txt") == b"x"


def test_ready_made_stages_run_whatever_is_banned(bench):
    bench.write("in.txt", "a\n")
    bench.define(
        {
            "name": "a",
            "processor": "offpipe:stage_upper.py",
            "inputs": {"text": "in.txt"},
            "outputs": {"text": "o.txt"},
        },
        offline={"bannedImports": ["runner", "os", "sys"]},
    )
    bench.succeed()
    assert bench.read("o.txt") == b"A\n"


@pytest.mark.full
def test_a_thousand_stages_that_share_a_finding_are_one_block(bench):
    bench.write("p.py", "import socket\n")
    bench.define(*(stage(f"s{number}", processor="p.py") for number in range(1000)))
    done = bench.run()
    assert done.returncode == REFUSED
    _, *lines = done.stderr.splitlines()
    assert lines[:2] == [
        "error: stage s0 imports a banned module: p.py:1: import socket",
        "  999 more stages import it: s1, s2, s3, s4, s5, s6, s7, s8 and 991 more",
    ]
    assert len(lines) == 3
