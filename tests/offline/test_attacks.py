"""No attack gets out of a stage: attacks are stages of a real run, listeners are real, and each works unguarded."""

from __future__ import annotations

import pytest
from offline_attacks import ATTACKS
from offline_run import SEALED

COMBINATIONS = [(level, user) for user in ("root", "unprivileged") for level in ("kernel", "filter", SEALED)]
pytestmark = pytest.mark.parametrize(("level", "user"), COMBINATIONS)
SEEN = [name for name, attack in ATTACKS.items() if attack.families]
QUIET = [name for name, attack in ATTACKS.items() if not attack.families]


def test_the_run_reached_the_level(outcome, level):
    assert outcome["isolation"]["level"] == ("kernel" if level == SEALED else level)
    assert outcome["isolation"].get("views") == ("possible" if level == SEALED else None)


def test_no_listener_heard_anything(outcome):
    assert outcome["received"] == []


def test_nothing_is_left_running(outcome):
    assert outcome["left"] == []


def test_the_run_ends_as_refused(outcome):
    assert outcome["exit"] == 4, outcome["stderr"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_way_out_is_closed(attack, control, outcome, level):
    if level == "filter" and ATTACKS[attack].limit:
        pytest.skip(f"no promise at this level: {ATTACKS[attack].limit}")
    _check_works_without_guard(attack, control["output"], control["received"])
    assert "reached" not in outcome["output"][attack]
    assert [each for each in outcome["received"] if outcome["tokens"][attack] in each[1]] == []


def _check_works_without_guard(name, output, received):
    """Skip if the machine lacks what the attack needs; fail if the attack gets nowhere without a guard either."""
    if received or "reached" in output or "{sa_family=AF_INET, sin_port=htons(53)" in output:
        return
    for lacking in ATTACKS[name].lacks:
        if f"refused {lacking}\n" in output:
            pytest.skip(f"without a guard it is {lacking} here")
    pytest.fail(f"gets nowhere without a guard either:\n{output}")


@pytest.mark.parametrize("attack", QUIET)
def test_an_attack_without_a_call_of_an_internet_family_is_tried_and_its_stage_succeeds(attack, outcome):
    if attack not in outcome["ended"]:
        pytest.skip("what it needs is not here")
    assert "trying" in outcome["output"][attack]
    assert outcome["ended"][attack] == "succeeded"
    assert outcome["attempts"][attack] == 1
    assert [each for each in outcome["records"] if each["stage"] == attack and each["action"] == "fail"] == []


@pytest.mark.parametrize("attack", SEEN)
def test_an_attempt_is_on_record_by_program_and_family_and_is_not_tried_again(attack, outcome):
    if attack not in outcome["ended"]:
        pytest.skip("what it needs is not here")
    records = [each for each in outcome["records"] if each["stage"] == attack]
    assert any(each["family"] in ATTACKS[attack].families for each in records), (records, outcome["output"][attack])
    expected = outcome["programs"][attack]
    assert any(each["program"].startswith(expected) for each in records), records
    assert {each["attempt"] for each in records} == {1} and min(each["count"] for each in records) > 0
    assert outcome["ended"][attack] == ("failed" if ATTACKS[attack].fails else "succeeded")
    assert {each["action"] for each in records} == {"fail" if ATTACKS[attack].fails else "record"}
    assert outcome["attempts"][attack] == 1
