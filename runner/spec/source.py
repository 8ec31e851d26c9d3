"""From a path to a JSON value: reads a spec's bytes without ever hanging, and parses them strictly.

What a strict reading objects to but can place (duplicate keys, NaN, numbers too large, half surrogates) comes as
findings with pointers beside the value, so that it is reported together with all other faults.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from errno import errorcode
from math import isinf

from runner.errors import Fault, SpecError, raise_refusal
from runner.spec.kinds import Finding
from runner.spec.words import did_you_mean, show

LARGEST = 64 * 1024 * 1024
_SYNTAX_HINT = "JSON has double quotes only, no comments, and no comma after the last member"
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_FOREIGN_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_source(path: str) -> bytes:
    """Return the bytes of the regular file at `path`, at most 64 MiB.

    What is no regular file is never opened: opening a FIFO waits, and opening a device can do anything. The descriptor
    is looked at again, since the path may have been exchanged in between.
    """
    try:
        _require_regular(path, os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:
            _require_regular(path, os.fstat(descriptor))
            content = b""
            while len(content) <= LARGEST and (block := file.read(LARGEST + 1 - len(content))):
                content = content + block if content else block
    except FileNotFoundError as error:
        raise SpecError(Fault(path, "no such spec file", missing_hint(path))) from error
    except OSError as error:
        raise_refusal(error, path)
        name = errorcode.get(error.errno or 0, "error")
        raise SpecError(Fault(path, f"cannot read the spec: {name} ({error.strerror})")) from error
    except ValueError as error:  # a NUL in the path
        raise SpecError(Fault(show(path), f"cannot read the spec: {error}")) from error
    if len(content) > LARGEST:
        raise SpecError(_too_large(path))
    return content


def missing_hint(path: str) -> str:
    """Return which spec may be meant by a path that leads nowhere: the same with `.json`, or the nearest beside it."""
    directory, name = os.path.split(path)
    if os.path.lexists(f"{path}.json"):
        return f"did you mean {show(f'{path}.json')}?"
    try:
        found = sorted(entry for entry in os.listdir(directory or ".") if entry.endswith(".json"))
    except (OSError, ValueError):
        return ""
    near = did_you_mean(name if name.endswith(".json") else f"{name}.json", found)
    return f"{near} (in {show(directory)})" if near and directory else near


def parse_source(path: str, content: bytes) -> tuple[object, list[Finding]]:
    """Return the JSON value and what a strict reading objects to; SpecError when there is no value to speak of."""
    text = _decode(path, content)
    try:
        try:
            return _parse(text, check_integers=False)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer beyond the interpreter's limit of digits; read again, slower, to place it
            return _parse(text, check_integers=True)
    except json.JSONDecodeError as error:
        what, hint = error.msg[:1].lower() + error.msg[1:], _SYNTAX_HINT
        if not text.strip():
            what, hint = "is empty", 'a spec begins so: {"specVersion": 1, "name": "NAME", "stages": ['
        raise SpecError(Fault(f"{path}:{error.lineno}:{error.colno}", what, hint)) from error
    except RecursionError as error:
        raise SpecError(Fault(path, "is nested too deeply to be read")) from error


def _require_regular(path: str, status: os.stat_result) -> None:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    if not stat.S_ISREG(status.st_mode):
        what = f"is {kinds.get(stat.S_IFMT(status.st_mode), 'no regular file')}"
        raise SpecError(Fault(path, what, "a spec is a regular file"))
    if status.st_size > LARGEST:
        raise SpecError(_too_large(path))


def _too_large(path: str) -> Fault:
    return Fault(path, f"is larger than {LARGEST // 2**20} MiB, which no spec should be")


def _decode(path: str, content: bytes) -> str:
    hint = "save the spec as UTF-8"
    for mark, encoding in _FOREIGN_MARKS:
        if content.startswith(mark):
            raise SpecError(Fault(path, f"is {encoding}", hint))
    if b"\0" in content[:4]:
        raise SpecError(Fault(path, "is UTF-16 or UTF-32", hint))
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}"
        raise SpecError(Fault(f"{path}:{line}", what, hint)) from error


class _Repeated(dict[str, object]):
    """An object some of whose keys came more than once."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.repeated = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value] # None


class _Refused:
    """Stands where the text has a number that is none of JSON's, or that no number here can hold."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what


def _parse(text: str, *, check_integers: bool) -> tuple[object, list[Finding]]:
    odd: list[object] = []

    def refuse(what: str) -> _Refused:
        odd.append(refused := _Refused(what))
        return refused

    def pairs(members: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(members)
        if len(found) != len(members):
            odd.append(found := _Repeated(members))
        return found

    def real(literal: str) -> object:
        number = float(literal)
        return refuse("the number is too large") if isinf(number) else number

    def integer(literal: str) -> object:
        try:
            return int(literal)
        except ValueError:
            return refuse("the number is too large")

    value: object = json.loads(
        text,
        object_pairs_hook=pairs,
        parse_float=real,
        parse_int=integer if check_integers else None,
        parse_constant=lambda literal: refuse(f"{literal} is not JSON"),
    )
    # An escape such as \ud800 is the only way to half a surrogate: unpaired in UTF-8 it would not have been decoded.
    return value, _place(value) if odd or "\\ud" in text or "\\uD" in text else []


def _place(value: object) -> list[Finding]:
    """Walk everything, since there is something odd somewhere; iterative, as the depth is the user's.

    Strings that no program can be given are put out of the value, so that no later check meets them.
    """
    findings: list[Finding] = []
    pending: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while pending:
        at, found = pending.pop()
        if isinstance(found, _Refused):
            findings.append(Finding(at, found.what))
        elif isinstance(found, str):
            if _HALF_SURROGATE.search(found):
                findings.append(Finding(at, _HALF))
        elif isinstance(found, (dict, list)):
            if isinstance(found, _Repeated):
                findings.extend(Finding((*at, key), "the key comes more than once") for key in found.repeated)
            for step, member in list(found.items() if isinstance(found, dict) else enumerate(found)):
                if isinstance(step, str) and _HALF_SURROGATE.search(step):
                    findings.append(Finding((*at, step), _HALF))
                pending.append(((*at, step), member))
                if isinstance(member, str) and _HALF_SURROGATE.search(member):
                    found[step] = _Refused(_HALF)
    return findings


_HALF = "holds half of a surrogate pair, which no file or program can be given"
