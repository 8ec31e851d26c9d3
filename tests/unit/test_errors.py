"""Errors are data with a text and an exit code, and they can be pickled."""

import errno
import os
import pickle

import pytest

from runner import errors
from runner.errors import Fault, InterruptedRunError, OffpipeError, SpecError, StateError, raise_if_system_error

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, OffpipeError)]


def test_the_place_comes_first_and_the_hint_has_a_line_of_its_own():
    assert str(Fault("spec.json#/name", "is empty", "name it")) == "error: spec.json#/name: is empty\nhint: name it"
    assert str(Fault("", "no stage", "")) == "error: no stage"


def test_the_text_has_every_fault():
    assert str(SpecError(Fault("a", "x"), Fault("b", "y", "z"))) == "error: a: x\nerror: b: y\nhint: z"


def test_exit_codes_are_as_documented():
    codes = {cls.__name__: cls.exit_code for cls in CLASSES}
    assert codes == {
        "OffpipeError": 70, "UsageError": 2, "SpecError": 2, "OfflineError": 4, "InputError": 5, "OutputError": 1,
        "LockHeldError": 9, "LauncherError": 70, "StateError": 74, "NewerReleaseError": 74, "DamagedRecordError": 6,
        "PendingError": 3, "InterruptedRunError": 70, "NoRecordError": 2,
    }  # fmt: skip


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [cls for cls in CLASSES if cls is not InterruptedRunError])
def test_an_error_survives_pickling(kind, protocol):
    error = kind(Fault("a", "b", "c"), Fault("d", "e"))
    again = pickle.loads(pickle.dumps(error, protocol))
    assert (type(again), again.faults, str(again), again.exit_code) == (
        kind, error.faults, str(error), error.exit_code,
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(1, 129), (2, 130), (15, 143)])
def test_an_interrupt_carries_its_signal_also_when_pickled(number, code):
    again = pickle.loads(pickle.dumps(InterruptedRunError(number)))
    assert (again.signal_number, again.exit_code) == (number, code)


def test_an_error_of_the_system_has_errno_and_path():
    error = StateError.from_os(OSError(errno.ENOSPC, "No space left on device"), "/x", "write")
    assert str(error) == "error: /x: cannot write: ENOSPC (No space left on device)"


def test_an_error_without_errno_has_a_text():
    assert str(StateError.from_os(OSError("odd"), "/x", "read")) == "error: /x: cannot read: error (odd)"


def test_faults_are_values():
    assert Fault("a", "b") == Fault("a", "b", "")
    assert len({Fault("a", "b"), Fault("a", "b"), Fault("a", "c")}) == 2
    assert Fault("a", "b") != ("a", "b", "")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_system_error_is_not_blamed_on_the_file(number):
    with pytest.raises(StateError, match=rf"^error: /a/b: cannot read: {errno.errorcode[number]} \("):
        raise_if_system_error(OSError(number, os.strerror(number)), "/a/b")


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, ""), PermissionError(errno.EACCES, ""), ValueError()]
)
def test_an_error_of_the_file_is_left_to_the_caller(error):
    raise_if_system_error(error, "/a/b")
