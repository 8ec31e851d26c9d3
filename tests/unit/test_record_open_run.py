import pytest

from runner.record.audit import Position
from runner.record.open_run import OpenRun


@pytest.mark.parametrize(("selected", "named", "expected"), [
    ((), ("a",), ()), (("a",), (), ()), (("a",), ("b", "a"), ("a", "b")), (("a",), ("a",), ("a",)),
])  # fmt: skip
def test_a_run_is_of_all_stages_that_it_was_asked_for_in_whatever_part(selected, named, expected):
    begun = OpenRun("run", Position(3, "hash"), {}, 0, selected=selected)
    assert begun.selected_with(named) == expected
    assert OpenRun("new", None, {}, 0).selected_with(named) == named
