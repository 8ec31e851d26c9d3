"""A run whose messages nobody reads still works, ends and obeys signals. A slow reader gets every line."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline_bench import unstamped, with_default_signals
from suites import full_but

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
ENDS_IN_TIME = 40.0  # seconds, on a busy machine
STAGES = 60


def write_spec(directory: Path, command: list[str], stages: int) -> Path:
    declared = [{"name": f"s{n:02}", "command": command, "outputs": {"o": f"out/{n}"}} for n in range(stages)]
    path = directory / "p.json"
    path.write_text(json.dumps({"specVersion": 1, "name": "p", "stages": declared}))
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write_spec(tmp_path, ["touch", "{outputs.o}"], STAGES)


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """A stage that reports its start, and then sleeps."""
    os.mkfifo(tmp_path / "started")
    return write_spec(tmp_path, ["sh", "-c", "echo >started; exec sleep 1000"], 1)


@contextlib.contextmanager
def full_pipe(*, capacity: int | None = None):
    """Yield both ends of a full pipe, or of an empty one for `capacity` bytes."""
    read_end, write_end = os.pipe()
    try:
        if capacity is None:
            os.set_blocking(write_end, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write_end, b"-" * 65536)
            os.set_blocking(write_end, True)
        else:
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, capacity)
        yield read_end, write_end
    finally:
        os.close(read_end)
        os.close(write_end)


@contextlib.contextmanager
def started(spec: Path, *words: str, **streams):
    command = with_default_signals([sys.executable, "-m", "runner", str(spec), *words])
    environment = {**ENVIRONMENT, "TERM": "dumb"}
    with subprocess.Popen(command, cwd=spec.parent, env=environment, text=True, **streams) as run:
        try:
            yield run
        finally:
            run.kill()


def is_over(spec: Path) -> bool:
    """Whether the run is on record as a success."""
    ledger = spec.parent / "state" / "audit_ledger.jsonl"
    return ledger.exists() and '"ev":"closed"' in ledger.read_text()


def read_available(descriptor: int, most: int) -> bytes:
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        return os.read(descriptor, most)
    return b""


def await_start(spec: Path) -> None:
    """Wait until the stage has started."""
    gate = os.open(spec.parent / "started", os.O_RDWR)
    readable = select.select([gate], [], [], ENDS_IN_TIME)[0]
    os.close(gate)
    assert readable, "the stage was never started"


@pytest.mark.full
def test_a_full_stderr_that_nobody_reads_stops_no_run(spec) -> None:
    with full_pipe() as (_, full), started(spec, stdout=subprocess.PIPE, stderr=full) as run:
        assert run.wait(ENDS_IN_TIME) == 0
        assert run.stdout.read().startswith(f"p: {STAGES} succeeded in ")
    assert len(list((spec.parent / "out").iterdir())) == STAGES and is_over(spec)


@pytest.mark.full
def test_a_full_stdout_that_nobody_reads_stops_no_run(spec) -> None:
    with full_pipe() as (_, full), started(spec, "--json", stdout=full, stderr=subprocess.PIPE) as run:
        assert run.wait(ENDS_IN_TIME) == 0
        assert f"s{STAGES - 1:02}: succeeded in " in run.stderr.read()
    assert is_over(spec)


@pytest.mark.full
@pytest.mark.parametrize("number", full_but([signal.SIGINT, signal.SIGTERM], [signal.SIGTERM]))
def test_a_signal_ends_a_run_whose_messages_nobody_reads(number, gated) -> None:
    with full_pipe() as (_, full), started(gated, stdout=subprocess.PIPE, stderr=full) as run:
        await_start(gated)
        run.send_signal(number)
        assert run.wait(ENDS_IN_TIME) == 128 + number
        assert run.stdout.read().startswith("p: 1 interrupted in ")


@pytest.mark.full
def test_an_error_that_nobody_reads_ends_a_run_with_its_code(spec) -> None:
    spec.write_text("{}")
    with full_pipe() as (_, full), started(spec, stdout=full, stderr=full) as run:
        assert run.wait(ENDS_IN_TIME) == 2


@pytest.mark.full
def test_a_slow_reader_gets_every_line_in_order(spec) -> None:
    with full_pipe(capacity=4096) as (read_end, write_end):
        with started(spec, "-j1", stdout=write_end, stderr=write_end) as run:
            until = time.monotonic() + ENDS_IN_TIME
            while not is_over(spec) and time.monotonic() < until:
                time.sleep(0.05)  # nothing is read before all the work is done
            content = b""
            while run.poll() is None and time.monotonic() < until:
                content += read_available(read_end, 256)
                time.sleep(0.01)
            assert run.returncode == 0
        while more := read_available(read_end, 65536):
            content += more
    lines = unstamped(content.decode()).splitlines()
    assert lines[0].startswith("p: run ") and lines[-3].startswith(f"p: {STAGES} succeeded in ")
    assert lines[-1].startswith("ledger head: ")
    names = [f"s{number:02}" for number in range(STAGES)]
    for event in ("started", "succeeded in "):
        assert [line.partition(":")[0] for line in lines if f": {event}" in line and line[0] == "s"] == names


@pytest.mark.full
def test_a_terminal_that_is_not_read_stops_no_run(spec) -> None:
    master, terminal = os.openpty()
    os.set_blocking(terminal, False)
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(terminal, b"-" * 100)  # until there is room for a few letters at most
        time.sleep(0.1)  # the kernel moves some of it on
    os.set_blocking(terminal, True)
    try:
        with started(spec, stdout=subprocess.PIPE, stderr=terminal) as run:
            assert run.wait(ENDS_IN_TIME) == 0
    finally:
        os.close(master)
        os.close(terminal)
    assert is_over(spec)


def test_the_pipe_stays_as_it_is_for_others_who_write_to_it(gated) -> None:
    with full_pipe() as (_, full), started(gated, stdout=full, stderr=full):
        await_start(gated)
        assert os.get_blocking(full)


@pytest.mark.full
def test_a_verb_whose_results_are_its_purpose_waits_for_its_reader(tmp_path) -> None:
    spec = write_spec(tmp_path, ["true"], 3_000)
    run = subprocess.Popen([sys.executable, "-m", "runner", "plan", str(spec)], env=ENVIRONMENT, stdout=subprocess.PIPE)
    with run:
        time.sleep(6)  # longer than a run waits at its end
        assert run.stdout.read().count(b"no completed run\n") == 3_000
    assert run.returncode == 0
