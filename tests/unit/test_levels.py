from __future__ import annotations

import errno
import pickle

from runner.levels import RefusedError


def test_a_refusal_names_call_and_errno() -> None:
    refusal = RefusedError("unshare(user)", errno.EPERM)
    assert str(refusal) == "unshare(user) failed: EPERM (Operation not permitted)"


def test_a_refusal_without_errno_is_its_reason() -> None:
    assert str(RefusedError("no filter for riscv64", 0)) == "no filter for riscv64"


def test_a_refusal_survives_pickling() -> None:
    sent = RefusedError("landlock_create_ruleset", errno.ENOSYS)
    assert str(RefusedError(*sent.args)) == str(pickle.loads(pickle.dumps(sent))) == str(sent)
