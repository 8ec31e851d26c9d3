"""How attempts, stages and runs ended, as values.

A leaf: the sandbox and the executor make these values, hooks and the display read them, and the audit log and the
metrics hold them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from runner.processes import signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.errors import Fault
    from runner.record.markers import OutputIdentity

BLOCKED_BY = "blocked by"  # begins the fault of a stage that needs a failed stage
NETWORKS_SHOWN = 6  # in a message
SUCCEEDED, SKIPPED, FAILED, BLOCKED, INTERRUPTED = "succeeded", "skipped", "failed", "blocked", "interrupted"
ADOPTED = "adopted"  # up to date, because it took over the outputs of a stage that is gone
GOOD = (SUCCEEDED, SKIPPED, ADOPTED)  # the outputs are there
REFUSED = "refused"  # a run that ended before it began
MICROS = {"seconds": "micros", "cpuSeconds": "cpuMicros", "delaySeconds": "delayMicros"}  # metrics -> audit log


class NetworkCalls(NamedTuple):
    """Refused calls of socket(2) by one program: the name of its file, and a `family` such as `AF_INET`.

    `is_probe`: these calls fail no stage. A JVM opens internet sockets whenever it starts. And a process whose only
    call is for an IPv6 stream socket may just have imported urllib3.
    """

    program: str
    family: str
    calls: int
    is_probe: bool


class AttemptResult(NamedTuple):
    """How one attempt ended: with a `code`, by a `signal`, or neither if it `failed_to_start` ("ENOENT (No such ...)").

    Times are in seconds; `delay` is the wait before the attempt. `lines` is the line count of its last checkpoint.
    `left_behind` counts the processes that outlived the main one and were killed. `cpu_seconds` and `max_rss_bytes`
    cover the main process and the processes that it waited for; the RSS is at least the launcher's (about 10 MB).
    """

    number: int
    code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    delay: float = 0.0
    lines: int | None = None
    left_behind: int = 0
    failed_to_start: str | None = None
    sent: bool = False  # the signal came from the launcher, for a time limit or the end of the run
    network: tuple[NetworkCalls, ...] = ()  # calls that were refused
    local_sockets: int = 0  # refused blocking stream sockets of AF_UNIX, such as multiprocessing's
    launch: int = 0  # the id of its Launch
    node: str | None = None  # HOST/WORKER, on a cluster
    lost: str | None = None  # why it is not known how it ended, on a cluster
    program_sha256: str | None = None  # of the program on that node

    def describe(self) -> str:
        """Return how it ended, in a few words: `exit 75`, `SIGKILL`, `time limit`."""
        return ending_of(self.as_record())

    def as_metrics(self) -> dict[str, Any]:
        """Return the attempt as in the metrics file."""
        metrics = {
            "attempt": self.number,
            "exit": self.code,
            "signal": None if self.signal is None else signal_name(self.signal),
            "timedOut": self.timed_out,
            "seconds": round(self.seconds, 6),
            "cpuSeconds": round(self.cpu_seconds, 6),
            "maxRssBytes": self.max_rss_bytes,
            "delaySeconds": round(self.delay, 6),
            "lines": self.lines,
            "leftBehind": self.left_behind,
            "networkCalls": sum(each.calls for each in self.network),
        }
        return metrics | {name: value for name, value in (("node", self.node), ("lost", self.lost)) if value}

    def as_record(self) -> dict[str, Any]:
        """Return the attempt as in the audit log, which holds no floats: times are in whole microseconds."""
        record = self.as_metrics()
        for seconds, micros in MICROS.items():
            record[micros] = round(record.pop(seconds) * 1e6)
        if self.failed_to_start:
            record["failedToStart"] = self.failed_to_start
        return record


class Removed(NamedTuple):
    """The number of temporary outputs that a run removed, and their size in bytes."""

    outputs: int = 0
    size: int = 0


class StageResult(NamedTuple):
    """How a stage ended in this run. `log` is the path of the newest log.

    `exit_code` counts towards that of the run. A failure sets it, or a missing input that blocks the stage (`-k`).
    """

    name: str
    status: str
    key: str | None = None
    reasons: tuple[tuple[object, ...], ...] = ()
    attempts: Sequence[AttemptResult] = ()
    outputs: Mapping[str, OutputIdentity] = {}
    fault: Fault | None = None
    exit_code: int = 0
    log: str | None = None
    input_bytes: int = 0
    enforced: Mapping[str, object] = {}
    seconds: float = 0.0


class RunResult(NamedTuple):
    """How a run of `pipeline` ended. `head` is the ledger's head, `status` is succeeded, failed or interrupted.

    A run that was refused has the status `refused`, no stages, and a `fault`; without a ledger `head` is empty.
    `isolation` says what kept its stages offline: the `level` ("none" if no stage was started), and each layer.
    `signal` is the first signal that the run received; all stages may have succeeded nevertheless.
    """

    pipeline: str
    run_id: str
    status: str
    exit_code: int
    stages: dict[str, StageResult]
    head: str
    seconds: float
    isolation: dict[str, str]
    signal: int | None = None
    fault: Fault | None = None
    removed: Removed = Removed()

    def count(self, status: str) -> int:
        """Return how many stages ended with `status`."""
        return sum(stage.status == status for stage in self.stages.values())

    def unstarted(self) -> tuple[list[str], list[str]]:
        """Return the stages that were not started although nothing is wrong with them.

        The first list has those that need a stage with a fault, the second those that were only later.
        """
        needing: list[str] = []
        after: list[str] = []
        for stage in self.stages.values():
            if stage.status == BLOCKED and stage.fault and not stage.exit_code:
                (needing if stage.fault.what.startswith(BLOCKED_BY) else after).append(stage.name)
        return needing, after


def ending_of(record: Mapping[str, Any]) -> str:
    """Return how an attempt ended, in a few words, given its record."""
    if failure := record.get("failedToStart"):
        return f"could not start: {failure}"
    if lost := record.get("lost"):
        return f"lost on {record.get('node')}: {lost}" if record.get("node") else f"lost: {lost}"
    return "time limit" if record.get("timedOut") else str(record.get("signal") or f"exit {record.get('exit')}")


def added_up(network: Iterable[NetworkCalls]) -> tuple[NetworkCalls, ...]:
    """Return the calls with one entry for each program, family and kind."""
    counts: dict[tuple[str, str, bool], int] = {}
    for program, family, calls, is_probe in network:
        counts[program, family, is_probe] = counts.get((program, family, is_probe), 0) + calls
    return tuple(NetworkCalls(program, family, calls, probe) for (program, family, probe), calls in counts.items())


def network_text(network: Iterable[NetworkCalls]) -> str:
    """Return `curl (AF_INET, 3 times), perl (AF_INET6) and 2 more`; the audit log has all calls."""
    every = [
        f"{program} ({family})" if calls == 1 else f"{program} ({family}, {calls:,} times)"
        for program, family, calls, _ in network
    ]
    return listed(every, NETWORKS_SHOWN)


def listed(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return at most the first `most` texts on one line, and the number of the others: `a, b, c and 6 more`."""
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9. A real-time signal has only a number: `SIG34`."""
    known = (name for name, value in vars(signal).items() if value == number)
    return min((name for name in known if name.startswith("SIG") and "_" not in name), default=f"SIG{number}")
