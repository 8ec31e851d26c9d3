"""What the offline guard costs: to get ready once, and to start each stage, beside a launcher without isolation."""

from __future__ import annotations

import select
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.bounds import Bound, added
from benchmarks.table import Table
from benchmarks.timing import Sample, Usage, interleave, note
from runner.levels import FILTER, KERNEL, SCAN
from runner.sandbox.launcher import Launch, Launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bench import Bench

WHY_LESS = (
    "level kernel can be quicker than no isolation: there a thread of the launcher starts the program, and no fork "
    "has to copy the launcher; the filters that the thread has put up pass on to what it starts"
)
LEVELS = {"no isolation": SCAN, "level filter": FILTER, "level kernel": KERNEL}


def measure(bench: Bench) -> Iterator[Table]:
    bench.place.mkdir(exist_ok=True)
    log = bench.place / "log"
    log.touch()
    names = [name for name in LEVELS if _is_reached(LEVELS[name])]
    starts = interleave({name: _start(LEVELS[name]) for name in names}, max(bench.runs, 9))
    yield Table(
        "guard: until the launcher is ready, once a run",
        starts,
        "no isolation",
        bounds=_added(starts, "guard: ready", 25),
    )
    with ExitStack() as stack:
        launchers = {name: stack.enter_context(_ready(LEVELS[name])) for name in names}
        cases = {name: _stage(launcher, str(log)) for name, launcher in launchers.items()}
        note("starting and ending /bin/true")
        stages = {name: Sample() for name in cases}
        for case in cases.values():
            case(Sample())  # the first start of each touches pages that the others do not
        for _ in range(bench.sizes.starts):
            for name, case in cases.items():
                case(stages[name])
        note("")
    yield Table("guard: one stage, from asking for it to hearing of its end", stages, "no isolation",
                notes=[WHY_LESS], bounds=_added(stages, "guard: one stage", 0.5))  # fmt: skip


def _added(samples: dict[str, Sample], shown: str, allowed: float) -> list[Bound]:
    """Bound how many milliseconds more each level takes than no isolation."""
    base = "no isolation"
    return [
        added(samples, f"{shown}, {name}: more than without", name, base, allowed) for name in samples if name != base
    ]


def _is_reached(level: str) -> bool:
    with Launcher.start(level) as launcher:
        launcher.await_ready()
        return launcher.refusal is None


def _ready(level: str) -> Launcher:
    launcher = Launcher.start(level)
    launcher.await_ready()
    return launcher


def _start(level: str) -> Callable[[Sample], None]:
    def case(sample: Sample) -> None:
        began = time.perf_counter()
        with _ready(level):
            sample.add(Usage(time.perf_counter() - began, 0.0, 0))

    return case


def _stage(launcher: Launcher, log: str) -> Callable[[Sample], None]:
    poll = select.poll()
    poll.register(launcher.fileno(), select.POLLIN)

    def case(sample: Sample) -> None:
        began = time.perf_counter()
        launcher.submit(Launch(1, ["/bin/true"], {}, "/", None, None, log))
        while not (exits := launcher.receive()):
            poll.poll()
        sample.add(Usage(time.perf_counter() - began, exits[0].cpu_seconds, 0))

    return case
