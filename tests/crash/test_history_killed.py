"""An invocation killed at any call loses no earlier line of the ledger and leaves no damage, and the next one goes on.

The tests kill at each write and fsync of the ledger, and at a seeded choice of all calls. OFFPIPE_SWEEP=all takes
every call.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from call_tracer import trace, why_not
from crash_sweep import sample
from pipeline_bench import ROOT, PipelineBench, shell
from signing_keys import make_keys
from suites import full_but

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from call_tracer import Call

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"cannot trace: {why_not()}")
REMARKS = ("it is at work, or the next run resumes it", "is not in the ledger", "the next run cuts them off",
           "was killed after its end", "died before it did any work", "its write was cut short")  # fmt: skip


def stages(*, a: str = "cat in.txt > $PIPELINE_OUTPUT_OUT", b: str = "echo b > $PIPELINE_OUTPUT_OUT"):
    return shell("a", a, inputs={"x": "in.txt"}), shell("b", b)


def fails(bench: PipelineBench) -> None:
    bench.define(*stages(b="exit 1"))


def supersedes(bench: PipelineBench) -> None:
    bench.define(*stages(a="exit 1", b="exit 1"))
    assert bench.run("a").returncode == bench.run("b").returncode == 1
    bench.define(*stages())


def supersedes_without_work(bench: PipelineBench) -> None:
    bench.define(*stages(b="exit 1"))
    assert bench.run().returncode == 1
    bench.define(*stages()[:1])


def is_refused(bench: PipelineBench) -> None:
    bench.define(*stages())
    (bench.root / "in.txt").unlink()


def is_refused_later(bench: PipelineBench) -> None:
    has_run(bench)
    bench.run("nope")
    (bench.root / "in.txt").unlink()


def has_run(bench: PipelineBench) -> None:
    bench.define(*stages())
    bench.succeed()
    bench.write("in.txt", "another\n")
    bench.succeed()


def has_orphan(bench: PipelineBench) -> None:
    has_run(bench)
    bench.define(*stages()[:1])
    bench.succeed()


SCENARIOS: dict[str, tuple[Callable[[PipelineBench], None], tuple[str, ...], int]] = {
    # the preparation, the command that is killed, its exit code
    "a run that fails": (fails, ("run",), 1),
    "a run that supersedes two": (supersedes, ("run",), 0),
    "a run without work that supersedes one": (supersedes_without_work, ("run",), 0),
    "a first run that is refused": (is_refused, ("run",), 5),
    "a run that is refused": (is_refused_later, ("run",), 5),
    "clean": (has_run, ("clean",), 0),
    "clean --orphans": (has_orphan, ("clean", "--orphans"), 0),
    "prune": (has_run, ("prune", "--keep", "1"), 0),
}

SIGNED = ("a run that supersedes two", "a run that is refused", "clean", "prune")  # each begins with a signed ledger


def history(bench: PipelineBench) -> list[tuple[object, ...]]:
    """Return, oldest first, the fields of ended invocations that all later answers depend on."""
    fields = ("run", "part", "verb", "outcome", "exitCode", "began", "ended", "stages", "fault")
    return [tuple(each[field] for field in fields) for each in reversed(bench.json("runs")["runs"])]  # type: ignore[call-overload]


def is_of_ledger(call: Call) -> bool:
    return call.path.endswith("audit_ledger.jsonl") and call.name in ("write", "fsync")


@pytest.mark.parametrize("scenario", full_but(SCENARIOS, ("clean",)))
def test_an_invocation_killed_at_its_ledger_lines_loses_nothing_and_the_next_goes_on(scenario, tmp_path):
    assert_mended(scenario, tmp_path, is_of_ledger, most=sys.maxsize)


@pytest.mark.full
@pytest.mark.parametrize("scenario", SIGNED)
def test_a_signed_invocation_killed_at_its_ledger_lines_is_signed_by_the_next(
    scenario, tmp_path, tmp_path_factory, monkeypatch
):
    keys = make_keys(tmp_path_factory.mktemp("keys"))
    monkeypatch.setenv(*keys.env.popitem())
    assert_mended(scenario, tmp_path, is_of_ledger, most=sys.maxsize, checks=keys.words)


@pytest.mark.full
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_invocation_killed_at_any_call_loses_nothing_and_the_next_goes_on(scenario, tmp_path):
    assert_mended(scenario, tmp_path, lambda _: True, most=4)


def assert_mended(
    scenario: str, tmp_path: Path, is_meant: Callable[[Call], bool], most: int, checks: tuple[str, ...] = ()
) -> None:
    """Kill at up to `most` calls of the runner that `is_meant` selects: before the call, then in the middle of writes.

    `checks` are options of `verify`.
    """
    prepare, words, code = SCENARIOS[scenario]
    template = PipelineBench(tmp_path / "template")
    template.write("in.txt", "text\n")
    prepare(template)
    before = history(template)

    def traced(position: int, when: Callable[[Call], bool], *, torn: bool):
        bench = PipelineBench(tmp_path / f"killed-{position}")
        shutil.copytree(template.root, bench.root, symlinks=True)
        argv = [sys.executable, "-m", "runner", words[0], str(bench.spec), *words[1:]]
        return bench, trace(argv, log=str(tmp_path / "log"), cwd=str(ROOT), position=position, when=when, torn=torn)

    _, undisturbed = traced(0, is_meant, torn=False)
    assert undisturbed.code == code
    kills, reached = 0, 0
    for torn in (False, True):

        def when(call: Call, *, torn: bool = torn) -> bool:
            return call.role == "runner" and is_meant(call) and (call.name == "write" or not torn)

        positions = range(1, sum(map(when, undisturbed.calls)) + 1)
        assert positions
        for position in sample(positions, most, f"{scenario} {torn}"):
            bench, killed = traced(position, when, torn=torn)
            kills += 1
            reached += bool(killed.victims)
            if killed.victims:
                assert_goes_on(bench, words, code, before, f"{'in' if torn else 'before'} {killed.calls[-1]}", checks)
            shutil.rmtree(bench.root)
    assert reached >= 0.7 * kills, "too few positions were reached: two runs make nearly the same calls"


def assert_goes_on(
    bench: PipelineBench, words: tuple[str, ...], code: int, before: list[tuple[object, ...]], call: str,
    checks: tuple[str, ...],
) -> None:  # fmt: skip
    verified = bench.run("verify", *checks)
    assert verified.returncode in (0, 3), f"{call}: {verified.stdout}"
    remarks = verified.stdout.splitlines()[:-2] if verified.returncode == 3 else ()
    assert all(any(text in remark for text in REMARKS) for remark in remarks), f"{call}: {verified.stdout}"
    assert bench.run(*words).returncode == code, call
    assert history(bench)[: len(before)] == before, call
    bench.write("in.txt", "mended\n")
    bench.define(*stages())
    bench.succeed()
    assert bench.read("out/a.txt") + bench.read("out/b.txt") == b"mended\nb\n", call
    assert bench.succeed("verify", "--outputs", *checks).stdout.count("intact") == 1, call
    assert bench.json("status")["openRuns"] == [], call
    assert not bench.leftovers(), call
