"""Values and records behave as dataclasses do."""

import copy
import pickle
import subprocess
import sys
from unittest import mock

import pytest

from runner.values import Record, Value, made


class Place(Value):
    name: str
    height: int = 0


class Named(Value):
    name: str
    height: int = 0


class Way(Record):
    start: Place
    stops: list[str] = made(default_factory=list)
    length: float = 0.0


def test_fields_are_given_in_their_order_or_by_name():
    assert Place("a", 3) == Place(height=3, name="a") != Place("a", 4)
    assert Place("a").height == 0


@pytest.mark.parametrize(
    ("given", "named"), [((), {}), (("a", 1, 2), {}), (("a",), {"name": "b"}), (("a",), {"hight": 1})]
)
def test_what_does_not_fit_the_fields_is_refused(given, named):
    with pytest.raises(TypeError):
        Place(*given, **named)


def test_a_class_that_would_lose_fields_is_refused():
    with pytest.raises(TypeError, match="cannot add to the fields"):
        type("More", (Place,), {"__annotations__": {"depth": "int"}})


def test_who_compares_with_anything_is_asked_too():
    assert Place("a") == mock.ANY
    assert Place("a") != "a"


def test_a_default_that_is_made_is_nobody_elses():
    one, other = Way(Place("a")), Way(Place("a"))
    one.stops.append("x")
    assert other.stops == []


def test_a_value_stays_as_it_is_and_a_record_need_not():
    place, way = Place("a"), Way(Place("a"))
    with pytest.raises(AttributeError, match=r"Place\.height cannot be set"):
        place.height = 1
    with pytest.raises(AttributeError, match=r"Place\.height cannot be deleted"):
        del place.height
    way.length = 2.0
    with pytest.raises(AttributeError):
        way.lenght = 3.0


def test_equal_values_of_one_kind_stand_for_each_other_and_records_have_no_hash():
    assert len({Place("a"), Place("a"), Named("a")}) == 2
    assert Place("a") != Named("a")
    with pytest.raises(TypeError):
        hash(Way(Place("a")))


def test_another_with_different_fields_leaves_the_first_alone():
    place = Place("a", 1)
    assert (place.replace(height=2), place) == (Place("a", 2), Place("a", 1))
    with pytest.raises(TypeError):
        place.replace(width=2)


def test_they_are_shown_copied_and_pickled():
    way = Way(Place("a", 1), ["x"])
    assert repr(way) == "Way(start=Place(name='a', height=1), stops=['x'], length=0.0)"
    assert copy.deepcopy(way) == pickle.loads(pickle.dumps(way)) == way


def test_a_run_loads_no_dataclasses_but_for_pluggy():
    loads = "import pluggy, sys; before = set(sys.modules); import runner.cli.commands, runner.engine.execution as e"
    loads += ", types; e.preload(types.SimpleNamespace(stages=()), durable=True); print(*set(sys.modules) - before)"
    said = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert not {"dataclasses", "inspect"} & set(said.stdout.split())
