"""What names in a spec refer to, and what is said where they refer to nothing."""

from __future__ import annotations

from runner.spec.model import Stage
from runner.spec.references import check_needs


def test_the_names_that_are_known_come_in_the_order_of_the_spec() -> None:
    names = ["e", "b", "h", "a", "g", "c", "f", "d"]  # in a set, their order would change from process to process
    stages = [Stage(index, name, {"o": name}) for index, name in enumerate(names)]
    stages.append(Stage(8, "last", {"o": "last"}, needs=("xyzzy",)))
    (finding,) = check_needs(stages)
    assert finding.hint == "known: " + ", ".join(names)
