"""Many attempts, by many programs, with deceptive names; and what becomes of a stage that made one."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import harmless_asking
import pytest
from harmless_lives import LEVELS, at, bench_as_user
from pipeline_bench import wait_for

pytestmark = pytest.mark.full

ASKING = Path(harmless_asking.__file__)
AF_INET, AF_INET6, AF_PACKET, AF_VSOCK = 2, 10, 17, 40
NAMES = {AF_INET: "AF_INET", AF_INET6: "AF_INET6", AF_PACKET: "AF_PACKET", AF_VSOCK: "AF_VSOCK"}
TWO = [("kernel", "unprivileged"), ("filter", "root")]
PERL = "socket(S, 2, 1, 0) and exit 3"
LET = {"offline": {"onAttempt": "record"}}


@pytest.fixture
def bench(level, user):
    with bench_as_user(level, user) as made:
        made.write("ask.py", ASKING.read_text())
        yield made


def asks(name, *words, **fields):
    return {
        "name": name, "processor": "ask.py", "args": [str(word) for word in words], "outputs": {"out": f"out/{name}"},
        **fields,
    }  # fmt: skip


def attempt_counts(bench, stage=None):
    """Return (program, family) -> count of all attempts on record; a pair may be there twice, early and at the end."""
    counts = Counter()
    for record in bench.records("offline.attempt"):
        attempt = record["data"]
        if stage in (None, attempt["stage"]):
            counts[attempt["program"], attempt["family"]] += attempt["count"]
    return counts


def sizes(bench):
    return sum(path.stat().st_size for path in (bench.root / "state").rglob("*") if path.is_file())


@at(TWO[:1])
def test_a_flood_is_counted_exactly_and_keeps_no_other_stage_from_its_time_limit(bench):
    bench.define(
        asks("flood", "main", AF_INET, 20_000, **LET),
        {"name": "timed", "command": ["sleep", "60"], "outputs": {"out": "out/timed"}, "timeoutSeconds": 1},
    )
    done = bench.run("-j", "2", "-k")
    interpreter = Path(bench.owner.interpreter).resolve().name
    assert attempt_counts(bench) == {(interpreter, "AF_INET"): 20_000}
    assert f"{interpreter} (AF_INET, 20,000 times)" in done.stdout
    (timed,) = bench.attempts("timed")
    assert timed["timedOut"]
    assert 1 <= timed["seconds"] < 1.8
    assert sizes(bench) < 100_000


@at(TWO)
def test_a_flood_of_eight_processes_without_end_is_ended_in_time(bench):
    bench.define(
        asks("flood", "without_end", AF_INET6, timeoutSeconds=3, **LET),
        {"name": "timed", "command": ["sleep", "60"], "outputs": {"out": "out/timed"}, "timeoutSeconds": 1},
        asks("calm", "write"),
    )
    bench.run("-j", "3", "-k")
    (timed,), (flood,) = bench.attempts("timed"), bench.attempts("flood")
    assert timed["seconds"] < 1.8
    assert flood["timedOut"]
    assert flood["seconds"] < 5
    assert sum(attempt_counts(bench).values()) > 1000
    assert len(attempt_counts(bench)) <= 2  # a killed process has no executable any more, only the name it gave itself
    assert bench.read("out/calm") == b"made\n"
    assert sizes(bench) < 100_000
    assert not bench.alive()


def perls(bench, names, **fields):
    """Create links to one program, each with its own name: the kernel reports the link that is executed."""
    perl = shutil.which("perl")
    if perl is None:
        pytest.skip("no perl here")
    (bench.root / "programs").mkdir()
    shutil.copy(perl, bench.root / "programs" / ".perl")
    for name in names:
        os.link(bench.root / "programs" / ".perl", os.fsencode(bench.root / "programs") + b"/" + name)
    script = f'trap "" TERM; for one in programs/*; do "./$one" -e "{PERL}"; done; : > "$PIPELINE_OUTPUT_OUT"'
    bench.define({"name": "many", "command": ["sh", "-c", script], "outputs": {"out": "out/many"}, **fields})


@at(TWO)
def test_many_programs_are_a_hundred_records_and_none_is_lost(bench):
    perls(bench, [b"program-%03d" % number for number in range(150)], **LET)
    bench.succeed()
    counts = attempt_counts(bench)
    assert len(counts) == 100
    assert counts["other programs", "any"] == 51
    assert counts["program-098", "AF_INET"] == 1
    assert sum(counts.values()) == 150


@at(TWO)
def test_names_made_to_deceive_are_escaped_wherever_they_are_shown(bench):
    hostile = [b"a\nfake: succeeded", b"b\x1b[2J\x1b[31mred", b"c\xff\xfe", b"d\x7f\xc2\x9b31m", "e\u202egnp".encode(),
               b"f" * 255, b"\xe2\x80\xa8" * 85, b"g (deleted)"]  # fmt: skip
    perls(bench, hostile)
    done = bench.run()
    assert done.returncode == 4
    assert sum(attempt_counts(bench).values()) == len(hostile)
    programs = [program for program, _ in attempt_counts(bench)]
    assert "a\\nfake: succeeded" in programs
    assert "b\\x1b[2J\\x1b[31mred" in programs
    assert "c\\xff\\xfe" in programs
    assert all(program.isprintable() and len(program) <= 100 for program in programs), programs
    for shown in (done, *(bench.run(*words) for words in (["status"], ["explain"], ["plan"], ["log"], ["--json"]))):
        text = shown.stdout + shown.stderr
        assert all(character.isprintable() or character == "\n" for character in text), text
        assert "\nfake" not in text


@at(TWO[:1])
def test_the_setting_of_a_stage_overrides_the_setting_of_the_spec(bench):
    bench.define(asks("a", "caught", AF_INET), asks("b", "caught", AF_INET, offline={"onAttempt": "fail"}),
                 offline={"onAttempt": "record"})  # fmt: skip
    assert bench.run().returncode == 4
    assert bench.read("out/a") == b"made\n"
    assert not bench.exists("out/b")


@at(LEVELS)
def test_an_attempt_that_its_program_swallowed_fails_the_stage_every_time(bench):
    bench.define(asks("a", "caught", AF_INET), asks("b", "write", needs=["a"]))
    for number in (1, 2):
        done = bench.run()
        assert done.returncode == 4, done.stderr
        assert not bench.exists("out/a")
        assert not bench.exists("out/b")
        assert bench.leftovers() == []
        assert len([r for r in bench.records("attempt.started") if r["data"]["stage"] == "a"]) == number
    assert bench.run("status", "--exit-code").returncode == 3
    assert bench.records("stage.commit") == []


@at(TWO)
@pytest.mark.parametrize("exit_code", [0, 1, 75])
def test_a_checkpoint_made_after_an_attempt_is_not_resumed(bench, exit_code):
    lines_until(bench, f"raise SystemExit({exit_code})")
    assert bench.run().returncode == 4
    assert bench.leftovers() == []
    bench.write("calm", "")
    bench.succeed()
    assert bench.read("from").split() == [b"0", b"0"]


@at(TWO)
def test_after_an_interrupt_a_checkpoint_made_after_an_attempt_is_not_resumed(bench):
    lines_until(bench, "open('waits', 'x'); time.sleep(60)")
    process = bench.start()
    wait_for((bench.root / "waits").exists, "the checkpoint")
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode in (4, 143), stderr
    assert list(attempt_counts(bench).values()) == [1]
    bench.write("calm", "")
    bench.succeed()
    assert bench.read("from").split() == [b"0", b"0"]


@at(LEVELS[:1])
def test_after_kill_9_an_attempt_is_on_record_and_its_checkpoint_is_not_resumed(bench):
    lines_until(bench, "open('waits', 'x'); time.sleep(60)")
    process = bench.start()
    wait_for(lambda: bench.exists("state") and attempt_counts(bench), "the record of the attempt")
    process.kill()
    process.communicate(timeout=20)
    bench.write("calm", "")
    bench.succeed()
    assert bench.read("from").split() == [b"0", b"0"]
    assert list(attempt_counts(bench).values()) == [1]


def lines_until(bench, ending):
    """Define a 1,000-line stage that checkpoints every 100, asks for a network at line 250 and stops at line 750.

    It ignores the TERM that would end it at line 250.
    """
    bench.write("in.txt", "".join(f"{number}\n" for number in range(1000)))
    bench.write(
        "lines.py",
        f"""
import ctypes, os, signal, time
from runner import sdk
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with sdk.stage() as stage, stage.lines("text", to="out") as job:
    with open("from", "a") as notes:
        print(job.line_offset, file=notes)
    for number, line in enumerate(job, job.line_offset):
        if not os.path.exists("calm") and number == 250:
            ctypes.CDLL(None).socket(2, 1, 0)
        if not os.path.exists("calm") and number == 750:
            {ending}
        job.write(line)
""",
    )
    bench.define({"name": "lines", "processor": "lines.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out/l"},
                  "checkpoint": {"everyLines": 100}, "retry": {"attempts": 3, "delaySeconds": 0}})  # fmt: skip


@at(LEVELS)
def test_attempts_of_stages_side_by_side_are_told_apart(bench):
    ways = ("main", "threads", "daemon", "family_of")
    times = {"main": 1, "threads": 3, "daemon": 1, "family_of": 2}
    stages = [(f"{way}-{family}", way, family, 40 + family) for way in ways for family in NAMES]
    bench.define(*(asks(*stage, resources={"cpus": 1}, **LET) for stage in stages))
    bench.succeed("-j", "4", "-k")
    interpreter = Path(bench.owner.interpreter).resolve().name
    for name, way, family, count in stages:
        assert attempt_counts(bench, name) == {(interpreter, NAMES[family]): count * times[way]}, name
