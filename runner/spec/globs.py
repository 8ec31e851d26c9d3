"""Paths in a spec: their normal form, and globs. Paths are text: `a/../b` is `b`, even if `a` is a symbolic link.

In globs `*`, `?` and `[...]` match within one name, `**` crosses directories, and nothing hidden matches. A file whose
name equals the glob comes before the glob's matches: `OutputIndex` does this for outputs, `InputResolver` for files on
disk.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = re.compile(r"[*?]|\[(?!!\])!?[^/][^\]/]*\]")
_UNSUPPORTED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_HIDDEN = r"(?!\.)"
_ANY_DEPTH = rf"(?:{_NOT_HIDDEN}[^/]+/)*"


def normal(path: str) -> str:
    """Return `path` without `//`, `.`, and `..` after a name. A directory's path ends in `/`."""
    is_directory = path.endswith(("/", "/.", "/..")) or path in {".", ".."}
    plain = os.path.normpath(path)
    plain = "/" + plain.lstrip("/") if plain.startswith("/") else plain
    return plain + "/" if is_directory and plain != "/" else plain


def from_root(path: str, root: str) -> str:
    """Return `path`, which may be absolute, in its normal form relative to `root`. It may begin with `../`."""
    plain = normal(path)
    if not plain.startswith(("/", "../")):
        return plain
    relative = os.path.relpath(os.path.join(root, plain), root)
    return relative + "/" if plain.endswith("/") else relative


def is_below(path: str) -> bool:
    """Whether a normal path is strictly below the directory that it is relative to."""
    return not path.startswith(("/", "../")) and path != "./"


def bare(path: str) -> str:
    """Return a path without the `/` that marks a directory."""
    return path.removesuffix("/")


def stem(path: str) -> str:
    """Return the name of an input or output in a list: its file name without the last extension."""
    return os.path.splitext(os.path.basename(path.rstrip("/")))[0]


def parents(path: str) -> Iterator[str]:
    """Yield the directories above a relative path, outermost first, without a final `/`: `a`, `a/b` for `a/b/c`."""
    return accumulate(bare(path).split("/")[:-1], "{}/{}".format)


def entries_of(directory: str) -> list[str]:
    """Return the names in a directory for a hint: sorted, or none if it cannot be listed."""
    try:
        return sorted(os.listdir(directory))
    except (OSError, ValueError):
        return []


def name_flaw(path: str) -> tuple[str, str] | None:
    """Return why no stage can get a file with this name on disk, and a hint; None if one can."""
    if not _UNSUPPORTED.search(path):
        return None
    what = f'"{ascii(path)[1:-1]}": the name is not UTF-8 or holds a control character'
    return what, "rename it: stages get names one per line, in UTF-8"


def is_glob(path: str) -> bool:
    """Whether `path` has a wildcard. A `[` without a `]` in the same name is an ordinary character."""
    return _MAGIC.search(path) is not None


def literal_prefix(pattern: str) -> str:
    """Return the characters before the first wildcard. Every match begins with them."""
    return _MAGIC.split(pattern, maxsplit=1)[0]


def may_meet(first: str, second: str) -> bool:
    """Whether two patterns, or directories, may have a match in common, by what is before and after their wildcards."""
    start, other_start = literal_prefix(first), literal_prefix(second)
    end, other_end = _MAGIC.split(first)[-1], _MAGIC.split(second)[-1]
    if not (start.startswith(other_start) or other_start.startswith(start)):
        return False
    return first.endswith("/") or second.endswith("/") or end.endswith(other_end) or other_end.endswith(end)


def literal_directory(pattern: str) -> str:
    """Return the deepest directory above every match, without a final `/`; "" is root."""
    return literal_prefix(pattern).rpartition("/")[0]


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """Return the expression of a glob. A relative path matches the glob if the expression's `match` accepts it."""
    *directories, last = pattern.split("/")
    parts = [_ANY_DEPTH if name == "**" else f"{_name_expression(name)}/" for name in directories]
    parts.append(f"{_ANY_DEPTH}{_NOT_HIDDEN}[^/]+" if last == "**" else _name_expression(last))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches a path, or a directory that it is in: `x*/` matches directories only."""
    match = compile_glob(pattern).match
    if pattern.endswith("/"):
        return any(match(f"{parent}/") for parent in parents(path))
    return match(path) is not None


def may_match_below(pattern: str, directory: str) -> bool:
    """Whether a file below `directory` could match, because some beginning of the pattern matches the directory."""
    names = pattern.split("/")
    ends = range(1, len(names) + (names[-1] == "**"))
    return any(compile_glob("/".join(names[:end])).match(directory) for end in ends)


def may_match(pattern: str, path: str) -> bool:
    """Whether a glob matches a path or a directory that it is in, or may match something below that directory."""
    may_hold_match = path.endswith("/") and may_match_below(pattern, bare(path))
    return may_hold_match or matches(pattern, path)


def _name_expression(name: str) -> str:
    """Return the expression of one name. A name with wildcards does not match hidden names."""
    first, *literals = map(re.escape, _MAGIC.split(name))
    wildcards = _MAGIC.findall(name)
    pieces = [first]  # the expressions between the stars
    for wildcard, literal in zip(wildcards, literals, strict=True):
        if wildcard == "*":
            pieces.append(literal)
        else:
            pieces[-1] += _wildcard_expression(wildcard) + literal
    if len(pieces) == 1:
        return (_NOT_HIDDEN if wildcards else "") + pieces[0]
    # Atomic groups, as in fnmatch: a middle piece may take its first match, so many stars cost no backtracking.
    middle = "".join(f"(?>[^/]*?{piece})" for piece in pieces[1:-1] if piece)
    return f"{_NOT_HIDDEN}{pieces[0]}{middle}[^/]*{pieces[-1]}"


def _wildcard_expression(wildcard: str) -> str:
    if wildcard == "?":
        return "[^/]"
    negated = wildcard.startswith("[!")
    members = wildcard[2 if negated else 1 : -1]
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
    try:
        re.compile(f"[{escaped}]")
    except re.error:
        escaped = re.escape(members)  # an empty range such as [z-a] matches its characters
    return f"(?!/)[{'^' if negated else ''}{escaped}]"
