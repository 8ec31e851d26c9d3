#!/usr/bin/env python3
"""Runs small mutants of offpipe against its tests: each has to make a test fail.

    python3 run.py CHECKOUT [ID...]         each mutant against its own test (killed_by)
    python3 run.py CHECKOUT --any "ARGS"    each mutant against these tests
    python3 run.py CHECKOUT --clean         the tests of killed_by without a mutant: all have to pass

CHECKOUT is a git checkout with a .venv; nothing else may work in it meanwhile. An ID may also be the name of a promise.
Where killed_by is a list, the tests are run in order until one kills the mutant.
The exit code is 0 when every mutant is killed; 1 when one survives, or a test cannot be run or does not end in time
(which says nothing on a busy machine: see --timeout); 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PASSED, FAILED = 0, 1  # exit codes of pytest
REAP = "--reap"  # how this file calls itself, see reap
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    options = parsed()
    mutants = chosen(json.loads(options.list.read_text()), options.ids)
    lock = os.open(options.checkout, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"error: another run.py works in {options.checkout}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    if options.clean:
        return clean(options, mutants)
    bad = 0
    for mutant in mutants:
        bad += judge(options, mutant) != "killed"
    print(f"{len(mutants) - bad} of {len(mutants)} killed")
    return 1 if bad else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=lambda text: Path(text).resolve())
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--list", type=Path, default=HERE / "mutants.json", metavar="FILE", help="another list")
    parser.add_argument("--any", metavar="ARGS", help="arguments of pytest, in place of killed_by")
    parser.add_argument("--clean", action="store_true", help="run the tests without a mutant")
    parser.add_argument("--timeout", type=float, help="seconds a test run (default 120, with --any 1800)")
    parser.add_argument("--show", action="store_true", help="print what pytest says")
    options = parser.parse_intermixed_args()
    options.timeout = options.timeout or (1800 if options.any else 120)
    if not (options.checkout / ".venv/bin/python").exists():
        parser.error(f"{options.checkout} has no .venv")
    return options


def chosen(mutants: list[dict], ids: list[str]) -> list[dict]:
    unknown = [one for one in ids if all(one not in (each["id"], each["promise"]) for each in mutants)]
    if unknown:
        print(f"error: not in the list: {', '.join(unknown)}", file=sys.stderr)
        sys.exit(2)
    return [each for each in mutants if not ids or each["id"] in ids or each["promise"] in ids]


def nodes_of(mutant: dict) -> list[str]:
    return [mutant["killed_by"]] if isinstance(mutant["killed_by"], str) else mutant["killed_by"]


def judge(options: argparse.Namespace, mutant: dict) -> str:
    """Apply one mutant, run tests until one kills it, undo it; print and return the verdict."""
    runs = [shlex.split(options.any)] if options.any else [[node] for node in nodes_of(mutant)]
    try:
        with applied(options.checkout, mutant):
            for arguments in runs:
                verdict, seconds, detail = tested(options, arguments)
                if verdict == "killed":
                    break
    except NoPlaceError as error:
        verdict, seconds, detail = "NO PLACE", 0.0, str(error)
    print(f"{verdict:8} {seconds:6.1f} s  {mutant['id']:15} {mutant['title']}  [{detail}]", flush=True)
    return verdict


def tested(options: argparse.Namespace, arguments: list[str]) -> tuple[str, float, str]:
    """Run pytest; return killed, SURVIVED, TIME OUT or ERROR, the seconds, and its last line."""
    code, seconds, output = run_pytest(options, arguments)
    if options.show:
        print(output)
    lines = [line for line in output.splitlines() if line.strip()]
    failed = next((line for line in reversed(lines) if line.startswith(("FAILED ", "ERROR "))), "")
    last = failed.partition(" - ")[0] or (lines[-1] if lines else "")
    if code is None:
        return "TIME OUT", seconds, f"did not end in {options.timeout:g} s: is the machine busy? see --timeout"
    verdict = {PASSED: "SURVIVED", FAILED: "killed"}.get(code, "ERROR")
    return verdict, seconds, last


def run_pytest(options: argparse.Namespace, arguments: list[str]) -> tuple[int | None, float, str]:
    """Return the exit code (None: it did not end in time), the seconds, and what pytest said."""
    python = options.checkout / ".venv/bin/python"
    words = [sys.executable, __file__, REAP, python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    began = time.monotonic()
    process = subprocess.Popen(
        words, cwd=options.checkout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, text=True, errors="replace",
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=options.timeout)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        end(process)
        code, output = None, process.communicate()[0]
    except BaseException:
        end(process)
        raise
    return code, time.monotonic() - began, output


def end(process: subprocess.Popen) -> None:
    """Let pytest end what it started (as after Ctrl-C); then have the reaper kill what is left."""
    for send, number, patience in ((os.killpg, signal.SIGINT, 10), (os.kill, signal.SIGTERM, 20)):
        if process.poll() is None:
            send(process.pid, number)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def reap(words: list[str]) -> int:
    """Run a command, and kill all that it leaves: a mutant may keep stages alive. Runs in a process of its own."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans come to us
    signal.signal(signal.SIGINT, lambda *_: None)  # that is for the command, in which it is as it was
    signal.signal(signal.SIGTERM, interrupt)
    main, status = subprocess.Popen(words), 0  # noqa: S603
    try:
        ended = 0
        while ended != main.pid:
            ended, status = os.wait()
    finally:
        deadline = time.monotonic() + 10
        while (left := Path("/proc/thread-self/children").read_text().split()) and time.monotonic() < deadline:
            for pid in map(int, left):
                os.kill(pid, signal.SIGKILL)  # ours, ended or not, until we wait for it
                os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    main.returncode = code
    return code if code >= 0 else 128 - code


class NoPlaceError(Exception):
    """The text of a mutant is not, or not once, in its file."""


@contextmanager
def applied(checkout: Path, mutant: dict):
    """Have a mutant in the checkout inside the block; the file, with its time, and no bytecode of either is left."""
    path = checkout / mutant["file"]
    before, status = path.read_bytes(), path.stat()
    old, new = mutant["old"].encode(), mutant["new"].encode()
    if before.count(old) != 1:
        hint = f"; is a mutant left in it? git -C {checkout} diff" if before.count(new) else ""
        raise NoPlaceError(f"old is {before.count(old)} times in {mutant['file']}{hint}")
    try:
        path.write_bytes(before.replace(old, new))
        forget_bytecode(path)
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second one must not leave it in there
        path.write_bytes(before)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        forget_bytecode(path)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)


def forget_bytecode(path: Path) -> None:
    """A .pyc is told from its source by whole seconds and size, which a mutant may share with the text before."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def clean(options: argparse.Namespace, mutants: list[dict]) -> int:
    """Run each test once, without a mutant."""
    bad, nodes = 0, list(dict.fromkeys(node for mutant in mutants for node in nodes_of(mutant)))
    for node in nodes:
        verdict, seconds, detail = tested(options, [node])
        passed = verdict == "SURVIVED" and " passed" in detail
        bad += not passed
        print(f"{'passed' if passed else 'FAILED':8} {seconds:6.1f} s  {node}  [{detail}]", flush=True)
    print(f"{len(nodes) - bad} of {len(nodes)} pass without a mutant")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(reap(sys.argv[2:]) if sys.argv[1:2] == [REAP] else main())
    except KeyboardInterrupt:
        if sys.argv[1:2] != [REAP]:
            print("interrupted; nothing is left in the checkout", file=sys.stderr)
        sys.exit(130)
