from __future__ import annotations

import errno

from runner.levels import Refusal, RefusedError


def test_a_refusal_tells_call_and_errno() -> None:
    refusal = Refusal("user namespace", "unshare(user)", errno.EPERM)
    assert str(refusal) == "unshare(user) failed: EPERM (Operation not permitted)"


def test_what_was_found_by_looking_has_no_errno() -> None:
    assert str(Refusal("seccomp", "no filter for riscv64", 0)) == "no filter for riscv64"


def test_an_error_carries_its_refusal() -> None:
    refusal = RefusedError("landlock", "landlock_create_ruleset", errno.ENOSYS).refusal
    assert (refusal.layer, refusal.call, refusal.number) == ("landlock", "landlock_create_ruleset", errno.ENOSYS)
