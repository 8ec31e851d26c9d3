import pytest

from runner.spec.kinds import Finding, below, did_you_mean, pointer, show


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("retry_exit_codes", 'did you mean "retryExitCodes"?'),
        ("RetryExitCodes", 'did you mean "retryExitCodes"?'),
        ("nmae", 'did you mean "name"?'),
        ("xyzzy", "known: retryExitCodes, name"),
    ],
)
def test_names_the_nearest_or_all_that_are_known(name, hint):
    assert did_you_mean(name, ["retryExitCodes", "name"]) == hint


def test_a_long_list_is_no_hint():
    assert did_you_mean("xyzzy", [f"name{n}" for n in range(20)]) == ""


def test_shows_values_short_and_printable():
    assert show("a\n\udc80") == '"a\\n\\udc80"'
    assert show("é") == '"é"'
    assert len(show("x" * 1000)) < 70
    assert show(10**5000) == "a very large number"
    assert [show(value) for value in ({}, [], None, True, 1.5)] == ["an object", "an array", "null", "true", "1.5"]


def test_pointers_are_escaped():
    assert pointer("s", ()) == "s"
    assert pointer("s", ("a/b~c", 0, "\n\udc80")) == "s#/a~1b~0c/0/\\n\\udc80"


def test_findings_grow_towards_the_top():
    assert below("a", [Finding((1,), "x", "y")]) == [Finding(("a", 1), "x", "y")]
