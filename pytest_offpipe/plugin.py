"""Options, markers and fixtures. Everything else is imported when a spec is given or a fixture is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_offpipe import Offpipe, OffpipeAudit, OffpipeClock, OffpipeFaults, OffpipeOffline, OffpipeSpec
    from pytest_offpipe.fixtures.state import FixtureState
    from pytest_offpipe.reports import RunReport

OPTIONS = (
    # option, action, help; each has its ini of the same name with `_`
    ("--offpipe-spec", "append", "collect the checks of this pipeline spec (may be given several times)"),
    ("--offpipe-checks", "store", "only these checks, with commas between: run,outputs,repeat,..."),
    ("--offpipe-each", "store", "instances of stages with `each`: all, a name or a pattern; default: the first"),
    ("--offpipe-inputs", "store", "a directory of smaller inputs, laid out as below the spec's root"),
    ("--offpipe-seed", "store", "the seed of random choices, to repeat a failure; default: a new one"),
    ("--offpipe-budget", "store", "seconds that reads, resume, stop and full may each take per stage (default: 45)"),
    ("--offpipe-strict", "store_true", "fail a check that could not be made on this machine, or by chance"),
)
MARKERS = (
    "offpipe: a check of a stage or a pipeline, collected from a spec",
    "offpipe_spec(path, params={}, inputs=None): the spec of the fixtures, with params of stages and a tree of inputs",
    "offpipe_fault(kind, stage, **arguments): a fault of the fixture offpipe_faults",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with its ini."""
    group = parser.getgroup("offpipe", "pipelines as test suites")
    for name, action, text in OPTIONS:
        group.addoption(name, action=action, help=text)
        ini = name[2:].replace("-", "_")
        if action == "store_true":
            parser.addini(ini, text, "bool")
        elif action == "store":
            parser.addini(ini, text)
    text = "write the golden files of the selected stages, instead of comparing with them"
    group.addoption("--offpipe-update-golden", action="store_true", help=text)
    parser.addini("offpipe_timeout", "seconds that a run of a stage in a check may take (default: 600)")
    parser.addini("offpipe_specs", "specs to collect when no path is given; globs", "args")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers. If a spec is given, register the hooks that collect it."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if ".json" in "".join(config.args) or config.getoption("offpipe_spec") or config.getini("offpipe_specs"):
        from pytest_offpipe.session import begin

        begin(config)


@pytest.fixture
def _offpipe_test(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FixtureState]:
    """The state that the fixtures of one test share."""
    from pytest_offpipe.fixtures.state import fixture_state

    yield from fixture_state(request, tmp_path_factory)


@pytest.fixture
def offpipe_clock(_offpipe_test: FixtureState) -> OffpipeClock:
    """A clock for the runs of `offpipe`: back-off and `maxTotalSeconds` work as usual, but no sleep takes real time.
    `.slept` lists the seconds of these sleeps, and `.advance(seconds)` lets time pass. Attempts take no time on this
    clock. `timeoutSeconds` is real time.
    """
    from pytest_offpipe import OffpipeClock

    _offpipe_test.clock = OffpipeClock()
    return _offpipe_test.clock


@pytest.fixture
def offpipe_offline(_offpipe_test: FixtureState) -> Iterator[OffpipeOffline]:
    """No network for this process while the test runs. (Stages that `offpipe` runs never have one.)
    Internet sockets and name look-ups fail in all threads with an OSError: ENETUNREACH, or a gaierror for look-ups.
    `.attempts` lists all attempts, those of stages too. At the end, an attempt fails the test, even if its error was
    ignored, unless you read `.attempts` or expected it: `with offpipe_offline.expect():`. Local sockets and asyncio
    work. The guard does not reach a `subprocess` that the test itself starts.
    """
    from pytest_offpipe.fixtures.offline import OffpipeOffline, refusing

    guard = OffpipeOffline()
    _offpipe_test.offline = guard
    _offpipe_test.complaints.append(guard.complaint)
    with refusing(guard):
        yield guard


@pytest.fixture
def offpipe_state_dir(_offpipe_test: FixtureState) -> Path:
    """An empty state directory for this test. A run keeps its state there if its workspace is the parent directory.
    Use it with `offpipe.cli(spec, "--workspace", offpipe_state_dir.parent)`, or for your own code that reads state.
    """
    directory = _offpipe_test.directory / "workspace" / "state"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def offpipe(_offpipe_test: FixtureState, offpipe_faults: OffpipeFaults) -> Offpipe:
    r"""Runs of pipelines, and of single stages, in copies that hold only what the spec declares.
    `.stage(spec, "clean", inputs={"text": b"a\nb\n"}, params={})` runs one stage alone and returns a StageReport:
    `.status .exit_code .attempts .outputs[name] .log .key .error`. `.run(spec, stages=..., params=..., inputs=DIR)`
    runs a pipeline and returns a RunReport: `.exit_code .run_id .stages[name] .audit .error`. A second run continues in
    the same copy. `.cli(*words)` runs the program itself: `.exit_code .stdout .stderr`. `.copy(spec)` only makes the
    copy. A spec is a path (from the rootdir), a dict, or `offpipe_spec`.
    """
    from pytest_offpipe import Offpipe

    return Offpipe(_offpipe_test, offpipe_faults)


@pytest.fixture
def offpipe_spec(request: pytest.FixtureRequest) -> OffpipeSpec:
    """A copy of a spec that you may change: a dict, with `.path`, and `.stage(name)` for the dict of a stage.
    A test that requests it runs once for each given spec (`--offpipe-spec`, or the ini `offpipe_specs`), or for the
    spec in its marker `offpipe_spec(path, params={"stage": {"key": value}}, inputs=DIR)`.
    """
    from pytest_offpipe.specs import spec_of

    return spec_of(request)


@pytest.fixture
def offpipe_faults(_offpipe_test: FixtureState) -> OffpipeFaults:
    """Faults of stages in the runs of `offpipe`, but not of `offpipe.cli`.
    `.exit_code(stage, code, times=1, when="before")` or `"after"` its work, `.kill(stage, at_checkpoint=n)` or
    `after_bytes=n`, `.disk_full(stage, after_bytes=n)`, `.slow(stage, seconds)`; `.corrupt(path, offset)` flips a byte
    at once. A fault that did not happen fails the test at its end; `.unfired` lists those. The marker
    `offpipe_fault(kind, stage, **arguments)` plans the same fault; `kind` is the method's name.
    """
    from pytest_offpipe.faults.plan import faults_of

    return faults_of(_offpipe_test)


@pytest.fixture
def offpipe_run(offpipe_spec: OffpipeSpec, _offpipe_test: FixtureState) -> RunReport:
    """The undisturbed run of `offpipe_spec`, made once in a session for all tests, workers and checks. Read only.
    A RunReport: `.exit_code .stages[name].outputs[name] .audit .state_dir`. A test that changes its files fails.
    """
    from pytest_offpipe.fixtures.lab import shared_report

    return shared_report(_offpipe_test, offpipe_spec)


@pytest.fixture
def offpipe_audit(_offpipe_test: FixtureState) -> OffpipeAudit:
    """Assertions about the record of runs. A failure shows the first bad record, its neighbours and the field.
    `.verify(report)` asserts that it is intact. It also takes a state directory, or nothing: this test's last run.
    `.assert_events(report, "run.start", {"ev": "attempt.finished", "stage": "clean", "exit": 75})` asserts that these
    events are in the log in this order, and returns their records.
    """
    from pytest_offpipe import OffpipeAudit

    return OffpipeAudit(_offpipe_test)
