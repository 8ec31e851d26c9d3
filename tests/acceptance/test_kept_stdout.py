"""What a failed stage printed into an output is kept until its next attempt, but is not an output."""

from __future__ import annotations

import json
import os
import re

import pytest
from pipeline_bench import shell

LINES = "seq 1 30000"  # 168,894 bytes
PRINTED = "".join(f"{number}\n" for number in range(1, 30_001))


def prints(script: str, **fields: object) -> dict[str, object]:
    return shell("a", script, stdout="out", **fields)


def kept(bench) -> list[str]:
    return sorted(path.name for path in (bench.root / "state/logs").rglob("*.stdout"))


def test_stdout_is_kept_whole_and_shown_with_the_log(bench) -> None:
    bench.define(prints(f"echo no such column >&2; {LINES}; exit 3"))
    done = bench.run()
    assert done.returncode == 1
    assert re.search(
        r"\nlog: \S+/a\.1\.log\n    no such column\nstdout: \S+/a\.1\.stdout\n    29981\n(    \d+\n){18}    30000\n"
        r"more: offpipe log \S+ a\n",
        done.stderr,
    )
    assert bench.run("log", "a").stdout == f"no such column\n{PRINTED}"
    assert kept(bench) == ["a.1.stdout"]
    assert not bench.exists("out/a.txt") and bench.leftovers() == []


def test_stdout_is_shown_alone_if_the_log_is_empty(bench) -> None:
    bench.define(prints("echo no such column; exit 3"))
    assert re.search(r"exit 3\nstdout: \S+\n    no such column\nmore: ", bench.run("run", "-q").stderr)
    shown = bench.run("log", "a")
    assert (shown.stdout, shown.stderr) == ("no such column\n", "")


@pytest.mark.full_after(1)
@pytest.mark.parametrize("fails", [True, False])
def test_the_next_attempt_begins_without_the_kept_stdout(bench, fails) -> None:
    bench.define(prints("echo attempt $PIPELINE_ATTEMPT; test $PIPELINE_ATTEMPT -gt $(cat last)"))
    bench.write("last", "1")
    assert bench.run().returncode == 1
    assert kept(bench) == ["a.1.stdout"]
    bench.write("last", "2" if fails else "1")
    assert bench.run().returncode == int(fails)
    assert kept(bench) == (["a.2.stdout"] if fails else [])
    assert bench.run("log", "a").stdout == ("attempt 2\n" if fails else "")
    assert bench.run("log", "a", "--attempt", "1").stdout == ""


def test_a_retry_begins_without_the_kept_stdout(bench) -> None:
    retry = {"attempts": 3, "delaySeconds": 0}
    bench.define(prints("ls state/logs/*/; exit 75", retry=retry))
    assert bench.run().returncode == 75
    assert kept(bench) == ["a.3.stdout"]
    assert bench.run("log", "a").stdout == "a.1.log\na.2.log\na.3.log\n"


def test_kept_stdout_is_never_taken_for_an_output(bench) -> None:
    bench.define(
        prints("echo half; exit 3"),
        shell("b", "true", inputs={"x": "**/*.stdout"}),
        shell("c", "true", inputs={"x": "out/*"}, outputs={"out": "c.txt"}),
    )
    done = bench.json("run", "-k")
    assert {name: stage["status"] for name, stage in done["stages"].items()} == {
        "a": "failed", "b": "blocked", "c": "blocked",
    }  # fmt: skip
    assert done["stages"]["a"]["outputs"] == {}
    assert bench.run("verify", "--outputs").returncode == 3  # incomplete, and nothing else


@pytest.mark.parametrize("script", ["echo half", 'echo half; mkfifo "$PIPELINE_OUTPUT_MORE"'])
def test_stdout_is_kept_if_another_output_is_at_fault(bench, script) -> None:
    bench.define(prints(script, outputs={"out": "out/a.txt", "more": "out/more.txt"}))
    assert "    half\n" in bench.run().stderr
    assert bench.run("log", "a").stdout == "half\n"
    assert bench.leftovers() == []


@pytest.mark.full_after(2)
@pytest.mark.parametrize("script", [
    "true", 'rm "$PIPELINE_OUTPUT_OUT"', 'rm "$PIPELINE_OUTPUT_OUT"; mkfifo "$PIPELINE_OUTPUT_OUT"',
    'ln -sf /etc/passwd "$PIPELINE_OUTPUT_OUT"', 'rm "$PIPELINE_OUTPUT_OUT"; mkdir "$PIPELINE_OUTPUT_OUT"',
])  # fmt: skip
def test_stdout_that_is_empty_or_no_longer_a_file_is_not_kept(bench, script) -> None:
    bench.define(prints(f"{script}; exit 3"))
    done = bench.run()
    assert done.returncode == 1 and ".log (empty)\n" in done.stderr
    assert kept(bench) == [] and bench.leftovers() == []


def test_a_checkpoint_keeps_its_partial_and_log_shows_its_end(bench) -> None:
    progress = {"v": 1, "key": "KEY", "lineOffset": 30_000, "outputs": {"out": {"length": len(PRINTED)}}}
    note = f"echo '{json.dumps(progress)}' | sed s/KEY/$PIPELINE_KEY/ >$PIPELINE_PROGRESS"
    bench.define(prints(f"test -s $PIPELINE_OUTPUT_OUT && exit 0; {LINES}; {note}; exit 3"))
    assert bench.run().returncode == 1
    shown = bench.run("log", "a").stdout
    assert len(shown) == 1 << 16 and PRINTED.endswith(shown)
    bench.succeed()
    assert bench.read("out/a.txt") == PRINTED.encode()
    assert kept(bench) == []


def test_clean_removes_kept_stdout_with_the_logs(bench) -> None:
    bench.define(prints("echo half; exit 3"))
    bench.run()
    bench.succeed("clean")
    assert kept(bench) == ["a.1.stdout"]
    bench.succeed("clean", "--state")
    assert os.listdir(bench.root / "state") == []
