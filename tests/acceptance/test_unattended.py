"""docs/unattended.md: its units, scripts and commands work as they are printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from pipeline_bench import ROOT, children, shell

PAGE = (ROOT / "docs/unattended.md").read_text()
BLOCK = re.compile(r"(?:^`(?P<name>\S+)`:\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groupdict() for match in BLOCK.finditer(PAGE)]
TRIM = shell("trim", "echo no such column >&2; test -e mended && touch $PIPELINE_OUTPUT_OUT")


def texts(kind: str) -> list[str]:
    return [block["text"] for block in BLOCKS if block["kind"] == kind]


def the(kind: str, word: str) -> str:
    (text,) = [text for text in texts(kind) if word in text]
    return text


@pytest.fixture
def nightly(bench):
    """The pipeline of the page, with `offpipe` in its .venv, and a `mail` that keeps what it gets."""
    bench.write(".venv/bin/offpipe", f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m runner "$@"\n', 0o755)
    bench.write("bin/mail", f'#!/bin/sh\n{{ echo "$@"; cat; }} > {bench.root}/mailed\n', 0o755)
    bench.spec = bench.root / "nightly.json"
    bench.define(TRIM)
    return bench


def moved(bench, text: str) -> str:
    return text.replace("/srv/nightly", str(bench.root)).replace("/mnt/share", str(bench.root))


def sh(bench, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as cron does, except that `offpipe` and `mail` are found."""
    path = f"{bench.root}/.venv/bin:{bench.root}/bin:/usr/bin:/bin"
    env = {"HOME": str(bench.root), "LOGNAME": "x", "SHELL": "/bin/sh", "PATH": path}
    words = ["/bin/sh", "-c", moved(bench, command)]
    return subprocess.run(words, cwd=bench.root, env=env, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("spoilt", [False, True])
def test_systemd_finds_no_fault_in_the_units(nightly, spoilt) -> None:
    units = {block["name"].rpartition("/")[2]: block["text"] for block in BLOCKS if block["kind"] == "ini"}
    assert sorted(units) == ["nightly.service", "nightly.timer", "tell@.service"]
    for name, text in units.items():
        nightly.write(
            f"units/{name}", moved(nightly, text.replace("OnFailure=", "OnFailur=" if spoilt else "OnFailure="))
        )
    words = [
        "systemd-analyze",
        "verify",
        "--man=no",
        "nightly.service",
        "nightly.timer",
        "tell@nightly.service.service",
    ]
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{nightly.root}/units:"}
    done = subprocess.run(words, cwd=nightly.root / "units", env=env, capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if any(name in line for name in ("nightly", "tell@"))]
    assert bool(about) == spoilt, done.stderr


def test_the_line_of_cron_prints_only_if_the_run_fails(nightly) -> None:
    (line,) = [line for line in the("", "MAILTO").splitlines() if not line.startswith("MAILTO")]
    fields = line.split(maxsplit=5)
    assert fields[:5] == ["40", "2", "*", "*", "*"] and "%" not in fields[5], "cron turns % into line ends"
    failed = sh(nightly, fields[5])
    assert failed.returncode == 1 and f"\nnext: cd {nightly.root} && offpipe run -q" in failed.stderr
    nightly.write(".venv/bin/offpipe", f"#!{sys.executable}\nimport sys\nsys.path.insert(0, '{ROOT}')\n"
                  "from runner.__main__ import main\nsys.exit(main())\n", 0o755)  # fmt: skip
    env = {"PATH": "/usr/bin:/bin"}
    failed = subprocess.run(
        ["sh", "-c", moved(nightly, fields[5])], cwd="/", env=env, capture_output=True, text=True, check=False
    )
    assert f"\nnext: cd {nightly.root} && .venv/bin/offpipe run -q" in failed.stderr
    assert "\nmore: .venv/bin/offpipe log" in failed.stderr
    nightly.write("mended", "")
    for _ in range(2):
        done = sh(nightly, fields[5])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_the_program_for_failures_mails_what_failed(nightly) -> None:
    nightly.write("tell", the("sh", "jq"), 0o755)
    assert sh(nightly, "offpipe run -q nightly.json --on-failure ./tell").returncode == 1
    subject, *mailed = nightly.read("mailed").decode().splitlines()
    assert "offpipe on" in subject and mailed == ["exit 1", "stage trim: failed with exit 1"]
    nightly.define({**TRIM, "inputs": {"x": "gone.txt"}})
    for keep_going, place in (("", ""), ("-k ", "stage trim: ")):
        assert sh(nightly, f"offpipe run {keep_going}-q nightly.json --on-failure ./tell").returncode == 5
        _, *mailed = nightly.read("mailed").decode().splitlines()
        assert mailed == ["exit 5", f'{place}nightly.json#/stages/0/inputs/x: "gone.txt": no such file']
    (nightly.root / "mailed").unlink()
    assert sh(nightly, "offpipe verify nightly.json --on-failure ./tell").returncode == 3
    assert not nightly.exists("mailed")
    nightly.write("state/audit_ledger.jsonl", "x\n")
    assert sh(nightly, "offpipe verify nightly.json --on-failure ./tell").returncode == 6
    assert "audit_ledger.jsonl: " in nightly.read("mailed").decode()


def test_the_dead_mans_switch_reports_nights_without_a_good_run(nightly) -> None:
    run, look = the("sh", "touch"), the("sh", "find")
    assert sh(nightly, run).returncode == 1
    assert "no good run" in sh(nightly, look).stdout
    nightly.write("mended", "")
    assert sh(nightly, run).returncode == 0
    assert sh(nightly, look).stdout == ""
    before = time.time() - 27 * 3600
    os.utime(nightly.root / "nightly.ok", (before, before))
    assert "no good run" in sh(nightly, look).stdout


@pytest.mark.full
def test_the_commands_of_the_page_exist_and_do_what_it_says(nightly) -> None:
    nightly.write("mended", "")
    assert sh(nightly, "offpipe run -q nightly.json").returncode == 0
    sizes = sh(nightly, the("sh", "df -h"))
    assert sizes.returncode == 0 and "state" in sizes.stdout, sizes.stderr
    assert "intact" in sh(nightly, the("sh", "verify")).stdout
    for command in ("status nightly.json", "log nightly.json trim", "plan nightly.json", "explain nightly.json trim"):
        assert f"`offpipe {command}`" in PAGE
        assert sh(nightly, f"offpipe {command}").returncode == 0


def test_as_process_1_a_run_stops_at_term_and_the_next_one_goes_on(bench) -> None:
    alone = ("unshare", "--user", "--map-root-user", "--fork", "--pid", "--mount-proc")
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare makes no namespaces here")
    gate = shell("gate", "test -e go || { echo > started; exec sleep 1000; }; echo > $PIPELINE_OUTPUT_OUT")
    bench.define(shell("first", "echo > $PIPELINE_OUTPUT_OUT"), {**gate, "needs": ["first"]})
    os.mkfifo(bench.root / "started")
    process = bench.start(command=alone)
    bench.read("started")
    (runner,) = children(process.pid)
    os.kill(runner, signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    bench.write("go", "")
    done = bench.run("--json", command=alone)
    stages = json.loads(done.stdout)["stages"]
    assert (stages["first"]["status"], stages["gate"]["status"]) == ("skipped", "succeeded"), done.stderr
