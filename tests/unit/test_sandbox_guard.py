from __future__ import annotations

import errno

import pytest

from runner.errors import EXIT_OFFLINE, OfflineError, OffpipeError
from runner.levels import RefusedError
from runner.sandbox import guard
from runner.sandbox.guard import gaps, settle

DENIED = RefusedError("unshare(user)", errno.EPERM)
CLOSED = RefusedError("seccomp", errno.EINVAL)


class Machine:
    """Starts launchers: each level is available, is refused, or makes its launcher die."""

    def __init__(self, **levels: RefusedError | OffpipeError | None) -> None:
        self.levels = levels
        self.started: list[FakeLauncher] = []

    def start(self, level: str, *, fork_env: dict[str, str] | None = None) -> FakeLauncher:
        self.started.append(FakeLauncher(self, level, self.levels.get(level), fork_env))
        return self.started[-1]


class FakeLauncher:
    def __init__(
        self, machine: Machine, level: str, outcome: RefusedError | OffpipeError | None,
        fork_env: dict[str, str] | None,
    ) -> None:  # fmt: skip
        self.level = level
        self.fork_env = fork_env
        self._machine = machine
        self.closed = False
        self.layers: dict[str, str] = {}
        self.refusal: RefusedError | None = None
        self._outcome = outcome

    def await_ready(self) -> None:
        if isinstance(self._outcome, OffpipeError):
            raise self._outcome
        self.refusal = self._outcome
        self.layers = {} if self._outcome else {"level": self.level}

    def instead(self, level: str) -> FakeLauncher:
        return self._machine.start(level, fork_env=self.fork_env)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def machine(monkeypatch):
    def made(**levels: RefusedError | OffpipeError | None) -> Machine:
        fake = Machine(**levels)
        monkeypatch.setattr(guard, "Launcher", fake)
        return fake

    return made


def test_the_best_available_level_is_taken(machine) -> None:
    here = machine()
    assert settle(here.start("kernel"), strict=True).layers == {"level": "kernel"}
    assert len(here.started) == 1 and not here.started[0].closed


def test_a_refused_level_is_kept_for_the_record(machine) -> None:
    here = machine(kernel=DENIED)
    reached = settle(here.start("kernel"), strict=True)
    assert reached.layers["level"] == "filter" and "unshare(user) failed: EPERM" in reached.layers["kernel"]
    assert [launcher.closed for launcher in here.started] == [True, False]


def test_less_than_filter_is_refused_naming_everything_that_failed(machine) -> None:
    here = machine(kernel=DENIED, filter=CLOSED)
    with pytest.raises(OfflineError) as caught:
        settle(here.start("kernel"), strict=True)
    assert caught.value.exit_code == EXIT_OFFLINE
    assert "unshare(user) failed: EPERM" in str(caught.value) and "seccomp failed: EINVAL" in str(caught.value)
    assert "--offline best-effort" in str(caught.value)
    assert all(launcher.closed for launcher in here.started)


def test_less_than_filter_is_taken_if_not_strict(machine) -> None:
    here = machine(kernel=DENIED, filter=CLOSED)
    reached = settle(here.start("kernel"), strict=False)
    assert reached.layers["level"] == "scan" and {"kernel", "filter"} <= reached.layers.keys()


def test_a_plugins_launcher_that_does_not_isolate_is_refused_too(machine) -> None:
    here = machine()
    with pytest.raises(OfflineError):
        settle(here.start("scan"), strict=True)
    assert here.started[0].closed


@pytest.mark.parametrize("dying", ["kernel", "filter"])
def test_after_a_launcher_has_died_none_is_left(machine, dying) -> None:
    here = machine(**{"kernel": DENIED, dying: OffpipeError()})
    with pytest.raises(OffpipeError):
        settle(here.start("kernel"), strict=True)
    assert all(launcher.closed for launcher in here.started)


KERNEL = {"level": "kernel", "netNamespace": "net:[1]", "seccomp": "filter", "attempts": "named"}


def texts(layers: dict[str, str]) -> list[str]:
    return [str(gap) for gap in gaps(layers)]


@pytest.mark.parametrize("layers", [KERNEL, {"level": "filter", "attempts": "named", "kernel": "none: unshare failed"}])
def test_a_level_that_keeps_stages_offline_is_no_warning(layers) -> None:
    assert (texts(layers)) == []


def test_a_lower_level_gives_a_warning_with_its_reason() -> None:
    layers = {"level": "scan", "kernel": "none: unshare failed: EPERM", "filter": "none: seccomp failed: EINVAL"}
    (warning,) = texts(layers)
    assert "stages can reach the network" in warning
    assert "unshare failed: EPERM" in warning and "seccomp failed: EINVAL" in warning
    (unnamed,) = texts({**KERNEL, "attempts": "cannot be named: seccomp failed: EBUSY"})
    assert "attempts are refused, but cannot be named" in unnamed
    (guessed,) = texts({**KERNEL, "processes": "by parents and sessions: RLIMIT_RTTIME is at most 5 here"})
    assert (
        "may be recorded for another stage: processes are matched to stages by parents and sessions: RLIMIT" in guessed
    )
    assert (texts({**KERNEL, "processes": "by tags"})) == []
    (writable,) = texts({**KERNEL, "kernelSettings": "writable: remounting /sys failed: EPERM"})
    assert "stages can change" in writable and "EPERM" in writable
