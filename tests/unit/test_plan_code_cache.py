import json

import pytest

from runner.plan.code.cache import UNUSED_KEPT, ParseCache, Parsed
from runner.plan.code.parse import parse


def test_parse_cache_goes_through_json():
    cache = ParseCache()
    parsed = parse(b"from .a import b\n__all__ = ['c']", "x.py")
    cache.put("00", parsed)
    assert cache.dirty
    again = ParseCache(json.loads(json.dumps(cache.dump())))
    assert again.get("00") == parsed and not again.dirty
    assert again.get("01") is None
    assert json.loads(json.dumps(again.dump())) == json.loads(json.dumps(cache.dump()))


@pytest.mark.parametrize(
    "files", [None, [], {"00": None}, {"00": [1, 2]}, {"00": [[[1, 2, "a", [3], False]], []]}, {"00": [[["1"]], []]}]
)
def test_damaged_parse_cache_is_an_empty_one(files):
    python = ParseCache().dump()["python"]
    assert ParseCache({"python": python, "files": files}).get("00") is None


def test_parse_cache_of_another_grammar_is_not_used():
    cache = ParseCache()
    cache.put("00", Parsed(()))
    assert ParseCache({**json.loads(json.dumps(cache.dump())), "python": "2.7"}).get("00") is None


def test_parse_cache_does_not_grow_for_ever():
    value = {**ParseCache().dump(), "files": {f"{number:05}": [[], []] for number in range(UNUSED_KEPT + 10)}}
    cache = ParseCache(value)
    assert cache.get("00000") == Parsed(())
    kept = cache.dump()["files"]
    assert len(kept) == UNUSED_KEPT + 1 and "00000" in kept and "00001" not in kept
