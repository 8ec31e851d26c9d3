"""Strategies that damage valid JSON: values in other places, junk, and bytes that were once JSON."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORDS = (
    "", " ", ".", "..", "/", "//", "a/..", "../x", "/etc/passwd", "~", "-", "--", "-n", "*", "**", "**/*", "[", "[a-",
    "in/*",
    "in/", "in/one.txt", "out/a.txt", "out/tree/", "state", "state/x", "locks", "spec.json", "fifo", "dangling",
    "loop/", "{",
    "}", "{}", "{inputs.text}", "{outputs.out}", "{list.text}", "{params.n}", "{python}", "{inputs.}", "{x.y.z}", "{{",
    "\0",
    "a\0b", "\n", "\x1b[31m", "\u202e", "\u2028", "e\u0301", "\ud800", "\udcff", "\U0001f600", "A" * 300, "a" * 5000,
    "SIGKILL",
    "SIGRTMIN", "SIGWHAT", "PIPELINE_X", "PATH", "LC_ALL", "a=b", "offpipe:stage_copy.py", "offpipe:../x", "work.py",
    "pipeline",
    "con", "copy", "1", "true", "null", "NaN", "0x10", "1e999", "__class__", "text", "out", "content", "mtime", "fail",
    "x-y", "{each.n}", "{each.file}", "{vars.tag}", "{each.{vars.tag}}", "in/*.txt", "in/*/three.txt", "many", "many@*",
    "sheet.csv", "rows", "key", "each", "vars", "columns", "where", "not", "mayBeEmpty", "if",
    "optional", "{outputs.many.out}", "{outputs.first.tree}x", "{outputs.rows.out}", "{vars.words}", "{outputs.}",
)  # fmt: skip
NUMBERS = (
    0, -0.0, 1, -1, 2, 75, 255, 256, 1000, 1001, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, -(10**30), 0.5, 1e-9,
    1e308, -1e308,
)  # fmt: skip
NOT_JSON = (float("nan"), float("inf"), float("-inf"))

scalars = st.sampled_from([*WORDS, *NUMBERS, *NOT_JSON, None, True, False]) | st.text(max_size=8)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=4,
) | st.integers(2, 60).map(lambda depth: json.loads("[" * depth + "]" * depth))


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every value inside a JSON value."""
    for step, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*at, step)
        if isinstance(member, (dict, list)):
            yield from places(member, (*at, step))


def _above(value: object, at: Sequence[str | int]) -> object:
    for step in at[:-1]:
        value = value[step]  # type: ignore[index]
    return value


@st.composite
def mutated(draw: st.DrawFn, originals: Sequence[object], most: int = 3) -> object:
    """Return one of the originals, with up to `most` values replaced, removed, renamed, doubled, wrapped or copied."""
    value = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, most))):
        candidates = list(places(value))
        if not candidates:
            return draw(junk)
        at = draw(st.sampled_from(candidates))
        above, step = _above(value, at), at[-1]
        how = draw(st.sampled_from(["junk", "remove", "rename", "double", "elsewhere", "wrap"]))
        if how == "junk":
            above[step] = draw(junk)
        elif how == "remove":
            del above[step]
        elif how == "rename" and isinstance(above, dict):
            above[draw(st.sampled_from(WORDS))] = above.pop(step)
        elif how == "double" and isinstance(above, list):
            above.append(copy.deepcopy(above[step]))
        elif how == "wrap":
            above[step] = [above[step]]
        else:
            from_place = draw(st.sampled_from(candidates))
            above[step] = copy.deepcopy(_above(value, from_place)[from_place[-1]])
    return value


def text_of(value: object) -> bytes:
    """Return a value as JSON. Half a surrogate becomes bytes that are not UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def spoilt(draw: st.DrawFn, sound: bytes) -> bytes:
    """Return valid bytes that were cut, doubled, flipped or mixed with others, up to three times; or any bytes."""
    content = sound
    for _ in range(draw(st.integers(1, 3))):
        at, end = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        how = draw(st.sampled_from(["cut", "drop", "double", "flip", "put", "zeros", "any", "lines"]))
        if how == "cut":
            content = content[:at]
        elif how == "drop":
            content = content[:at] + content[end:]
        elif how == "double":
            content = content[:end] + content[at:]
        elif how == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
        elif how == "put":
            content = content[:at] + draw(st.sampled_from(TOKENS) | st.binary(max_size=4)) + content[at:]
        elif how == "zeros":
            content = content[:at] + bytes(end - at) + content[end:]
        elif how == "lines":
            content = b"".join(draw(st.permutations(content.splitlines(keepends=True)[:12])))
        else:
            content = draw(st.binary(max_size=200))
    return content


TOKENS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"null", b"NaN", b"-Infinity", b"1e400",
    b"9" * 5000,
    b"\xff", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b"[" * 100_000, b'{"a":' * 20_000, b'"v":2,', b"-",
    b"0", b"e",
)  # fmt: skip
