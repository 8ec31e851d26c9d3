"""How reasons and the values in them are worded."""

from __future__ import annotations

import pytest

from runner.display.plan_text import _value_text, reason_text, reasons_line
from runner.plan.decisions import Reason

OLD, NEW = "3f2a91bc" * 8, "88bc01d2" * 8


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason("marker", "no completed run"), "no completed run"),
        (Reason("params", "simulateTransient", old=False, new=True), "params.simulateTransient: false -> true"),
        (Reason("params", "n", "1", 1), 'params.n: "1" -> 1'),
        (Reason("code", "stages/helper.py", OLD, NEW), "code stages/helper.py: 3f2a91bc.. -> 88bc01d2.."),
        (Reason("code", "stages/helper.py", None, NEW), "code stages/helper.py: new"),
        (Reason("inputs", "text: a/b.txt", OLD, None), "input a/b.txt: gone"),
        (Reason("outputs", "a/b.txt", OLD, NEW), "output a/b.txt: changed on disk, 3f2a91bc.. -> 88bc01d2.."),
        (Reason("outputs", "a/b.txt", OLD, None), "output a/b.txt: missing, or of another kind"),
        (Reason("outputs", "a/b.txt", OLD, "is a symbolic link"), "output a/b.txt: is a symbolic link"),
        (Reason("outputs", "text", "a.txt", "b.txt"), "outputs.text: a.txt -> b.txt"),
        (Reason("interpreter", "", "cpython-3.11", "cpython-3.12"), "interpreter: cpython-3.11 -> cpython-3.12"),
        (
            Reason("code", "modification time", "1795705500623936657", "1795705501000000007"),
            "code modification time: 2026-11-26T15:05:00.623936657Z -> 2026-11-26T15:05:01.000000007Z",
        ),
        (
            ["code", "modification time", "never", "-1"],
            "code modification time: never -> 1969-12-31T23:59:59.999999999Z",
        ),
        (["env", "A\x1b", None, "x\ny"], "env.A\\x1b: none -> x\\ny"),
    ],
)
def test_each_kind_of_difference_has_its_words(reason, text) -> None:
    assert reason_text(reason, full=False) == text


def test_digests_that_begin_alike_are_shown_whole() -> None:
    assert reason_text(Reason("code", "a.py", OLD, OLD[:-1] + "0"), full=False).endswith(OLD[:-1] + "0")


def test_a_line_has_three_reasons_and_counts_the_rest() -> None:
    reasons = [Reason("params", str(n), 0, 1) for n in range(5)]
    assert reasons_line(reasons, full=False) == "params.0: 0 -> 1; params.1: 0 -> 1; params.2: 0 -> 1 and 2 more"
    assert reasons_line(reasons, full=True).count(";") == 4


def test_digests_and_long_values_are_shortened_unless_full() -> None:
    assert _value_text("3f2a91bc" * 8, full=False) == "3f2a91bc.."
    assert _value_text("3f2a91bc" * 8, full=True) == "3f2a91bc" * 8
    assert _value_text(["x" * 100], full=False).endswith("...")
    assert _value_text(None, full=False) == "none"
