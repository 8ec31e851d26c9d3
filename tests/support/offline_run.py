"""Runs every attack as a stage of one run, and every attack without the guard; returns the results as plain data."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from offline_attacks import ATTACKS, Attack, filled
from offline_listeners import Listeners
from offline_users import UnavailableError, User, lacking, user
from pipeline_bench import PipelineBench, lasting_directory, wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

PROGRAMS = Path(__file__).resolve().parents[1] / "offline" / "programs"
RETRYABLE = 75
TRACE = "strace -fqqe inject=connect:error=ENETUNREACH "  # shows the addresses, and connects to none
SEALED = "sealed"
SHOWN = "/var/lib"  # views show what is there, such as the listening sockets
BUILDS = {
    "c": ("gcc", "-static", "-pthread", "-o", "attack", PROGRAMS / "attack.c"),
    "classes": ("javac", "-d", ".", PROGRAMS / "Attack.java"),
}
SOCKET_CALL = {"x86_64": "41", "aarch64": "198"}


@contextlib.contextmanager
def open_place(within: str | None = None) -> Iterator[Path]:
    """Yield a directory that every user can enter; only the owner can enter those of pytest."""
    with tempfile.TemporaryDirectory(prefix="offline-", dir=within, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@functools.cache
def _built(word: str) -> Path | None:
    """Return a directory with a program of BUILDS that every user can read; None if it cannot be built here."""
    command = BUILDS[word]
    if shutil.which(command[0]) is None:
        return None
    directory = lasting_directory("built-")
    done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    subprocess.run(["chmod", "-R", "a+rX", directory], check=True)
    return None if done.returncode else directory


class AttackSite:
    """What attacks need, below one directory: programs, listeners, a process outside, sockets to inherit."""

    def __init__(self, place: Path, owner: User, *, java: bool = True) -> None:
        self.owner = owner
        self.root = place / "root"
        self.root.mkdir()
        shutil.copytree(PROGRAMS, place / "programs")
        shutil.copy(PROGRAMS / "attack.py", self.root)
        subprocess.run(["chmod", "-R", "a+rX", place / "programs"], check=True)
        owner.owns(self.root, self.root / "attack.py")
        (place / "listening").mkdir()
        self.listeners = Listeners(place / "listening")
        self.words = {**self.listeners.words, "python": owner.interpreter, "programs": str(place / "programs")}
        self.words["interpreter"] = Path(owner.interpreter).resolve().name
        self.words["call-socket"] = SOCKET_CALL.get(os.uname().machine, "-1")
        for word in BUILDS if java else ("c",):
            if built := _built(word):
                shutil.copytree(built, place / word, copy_function=os.link)
                self.words[word] = f"{place}/{word}" + ("/attack" if word == "c" else "")
        self.inherited, self.stdin = self.listeners.connection(), self.listeners.connection()
        self.outside = self._start_outside()
        self._terminal = os.openpty()
        self.words["terminal"] = os.ttyname(self._terminal[1])
        owner.owns(Path(self.words["terminal"]))

    def _start_outside(self) -> subprocess.Popen[bytes]:
        hold = [self.words["programs"] + "/attack.py", "hold", "-", self.words["inherited"]]
        made = subprocess.Popen(
            [*self.owner.prefix, self.owner.interpreter, *hold],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.words["outside"] = str(made.pid)
        assert made.stdout is not None
        made.stdout.readline()
        self.words["descriptor"] = made.stdout.readline().decode().strip()
        self.listeners.forget_connection()
        return made

    def lacks(self, attack: Attack) -> str:
        """Return what this machine lacks for an attack, or an empty string."""
        for program in attack.needs:
            if shutil.which(program) is None:
                return f"no {program} here"
        for word in attack.words() - set(self.words) - {"token", "trace"}:
            named = {"c": "no static C program can be built here", "classes": "no Java program can be built here"}
            return named.get(word) or self.listeners.absent[word]
        return ""

    def script(self, attack: Attack, *, trace: str = "") -> str:
        return filled(attack.script, {**self.words, "token": self.token(attack), "trace": trace})

    def token(self, attack: Attack) -> str:
        return f"{self.listeners.nonce}-{attack.name}"

    def popen(self, level: str) -> dict[str, object]:
        """Return the arguments with which `PipelineBench` starts a run of this owner that inherits sockets."""
        return {
            "command": self.owner.below(level), "cwd": self.owner.cwd, "env": self.owner.env, "stdin": self.stdin,
            "pass_fds": [self.inherited.fileno()],
        }  # fmt: skip

    def close(self) -> None:
        self.outside.communicate()
        for descriptor in self._terminal:
            os.close(descriptor)
        self.inherited.close()
        self.stdin.close()
        self.listeners.close()


def controls(who: str, chosen: Collection[str]) -> dict[str, object]:
    """Run each chosen attack as a plain program of this user; return its output and what the listeners received."""
    with open_place() as place:
        try:
            site = AttackSite(place, user(who, place))
        except UnavailableError as reason:
            return {"unavailable": str(reason)}
        with contextlib.closing(site), ThreadPoolExecutor(4) as pool:
            attacks = [ATTACKS[name] for name in chosen]
            possible = [attack for attack in attacks if not site.lacks(attack)]
            outputs = dict(
                zip([a.name for a in possible], pool.map(lambda a: unguarded(site, a), possible), strict=True)
            )
            wait_for(lambda: not processes_in(place), "the end of what tries later")
            site.listeners.settle()
            received = site.listeners.received
            return {
                "output": outputs,
                "received": {a.name: [h for h in received if site.token(a) in h[1]] for a in possible},
                "lacks": {a.name: site.lacks(a) for a in attacks if a not in possible},
            }


def unguarded(site: AttackSite, attack: Attack) -> str:
    """Return the output of an attack as a plain program."""
    script = site.script(attack, trace=TRACE)
    if attack.processor:
        script = filled("@python@ @programs@/attack.py ", site.words) + script
    done = subprocess.run(
        [*site.owner.prefix, "sh", "-c", 'sh -c "$0"; :', script],
        cwd=site.root, stdin=site.stdin, pass_fds=[site.inherited.fileno()], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=30, check=False,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(site.root)},
    )  # fmt: skip
    return done.stdout.decode("utf-8", "replace")


@contextlib.contextmanager
def open_site(
    level: str, who: str, *, java: bool = True, within: str | None = None
) -> Iterator[tuple[AttackSite, PipelineBench]]:
    """Yield an attack site, and a bench whose runs reach `level`. Raises UnavailableError if they cannot."""
    with open_place(within) as place:
        owner = user(who, place)
        if reason := lacking(level, owner.prefix, owner.interpreter):
            raise UnavailableError(reason)
        site = AttackSite(place, owner, java=java)
        bench = PipelineBench(site.root)
        with contextlib.closing(site), contextlib.closing(bench):
            yield site, bench


def guarded(level: str, who: str, chosen: Collection[str]) -> dict[str, object]:
    """Run each chosen attack as a stage of one run; at the level `sealed`, each in a view, at level `kernel`."""
    sealed = level == SEALED
    level = "kernel" if sealed else level
    try:
        with open_site(level, who, within=SHOWN if sealed and os.access(SHOWN, os.W_OK) else None) as (site, bench):
            return attacked(site, bench, level, chosen=chosen, sealed=sealed)
    except UnavailableError as reason:
        return {"unavailable": str(reason)}


def attacked(
    site: AttackSite,
    bench: PipelineBench,
    level: str,
    *more: Attack,
    chosen: Collection[str] = ATTACKS,
    sealed: bool = False,
) -> dict[str, object]:
    """Run each chosen attack, and `more`, as a stage of one run of `bench`, if this machine has what it needs."""
    attacks = [attack for attack in (*map(ATTACKS.__getitem__, chosen), *more) if not site.lacks(attack)]
    bench.define(
        *(_stage(site, attack) for attack in attacks),
        defaults={
            "sealed": sealed,
            "retry": {"attempts": 3, "delaySeconds": 0, "retryExitCodes": [RETRYABLE]},
        },
    )
    done = bench.run("-k", "-j", "4", **site.popen(level))
    left = processes_in(site.root.parent)
    site.listeners.settle()
    return {
        "exit": done.returncode,
        "stderr": done.stderr,
        "left": sorted(left),
        **_story(site, bench, attacks),
    }


def _stage(site: AttackSite, attack: Attack) -> dict[str, object]:
    common = {"name": attack.name, "outputs": {"out": f"out/{attack.name}"}, "timeoutSeconds": 30}
    script = site.script(attack)
    if attack.processor:
        return {**common, "processor": "attack.py", "args": script.split()}
    ending = f'\n: > "$PIPELINE_OUTPUT_OUT"\nexit {RETRYABLE if attack.fails else 0}'
    # TERM, which ends a stage that asks for a network, must not spare it the rest of the attack.
    return {**common, "command": ["sh", "-c", "trap '' TERM\n" + script + ending]}


def _story(site: AttackSite, bench: PipelineBench, attacks: list[Attack]) -> dict[str, object]:
    starts = [record["data"]["stage"] for record in bench.records("attempt.started")]
    logs = {
        name: "".join(
            log.read_text("utf-8", "replace") for log in sorted(bench.root.glob(f"state/logs/*/{name}.*.log"))
        )
        for name in (attack.name for attack in attacks)
    }
    return {
        "isolation": (bench.records("run.start") or [{"data": {"isolation": {}}}])[0]["data"]["isolation"],
        "received": site.listeners.received,
        "tokens": {attack.name: site.token(attack) for attack in attacks},
        "programs": {attack.name: filled(attack.program, site.words) for attack in attacks},
        "output": logs,
        "attempts": {attack.name: starts.count(attack.name) for attack in attacks},
        "ended": {
            record["data"]["stage"]: record["data"].get("status", "succeeded")
            for record in [*bench.records("stage.commit"), *bench.records("stage.finished")]
        },
        "records": [record["data"] for record in bench.records("offline.attempt")],
    }


def processes_in(place: Path) -> set[int]:
    """The processes whose working directory or program is in a directory; zombies have neither."""
    pids = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if any(os.readlink(entry / name).startswith(str(place)) for name in ("cwd", "exe")):
                    pids.add(int(entry.name))
    return pids


def shared_result(folder: Path, name: str, ask) -> dict[str, object]:
    """Return what `ask` returns. One of the test processes that share `folder` calls it; if it raises, all fail."""
    answer = folder / f"{name}.json"
    with FileLock(f"{answer}.lock"):
        if not answer.exists():
            try:
                result = ask()
            except Exception:  # noqa: BLE001 - each of hundreds of tests fails with it, at once
                result = {"broken": traceback.format_exc()}
            answer.write_text(json.dumps(result))
        result = json.loads(answer.read_text())
    assert "broken" not in result, result["broken"]
    return result
