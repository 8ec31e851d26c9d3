"""The text of Python source: decoded as Python does, and refused where Python reads the same bytes in two ways."""

from __future__ import annotations

import codecs
import re

_ALWAYS_ONE_READING = frozenset({"ascii", "iso-8859-1", "utf-8", "utf-8-sig"})
_COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.DOTALL)  # PEP 263
_IS_COMMENT = re.compile(r"[ \t\f]*(#|$)")
_ARCHIVE_END = b"PK\x05\x06"  # end of central directory; at most a comment of 65,535 bytes stands behind it
_ARCHIVE_TAIL = 65_535 + 22


def is_archive(content: bytes) -> bool:
    """Whether zipimport, and so `python FILE`, would take these bytes for a zip file, whatever stands before it."""
    return _ARCHIVE_END in content[-_ARCHIVE_TAIL:]


def text_of(content: bytes) -> str:
    """Return the text of source that parses, every line end a newline."""
    return _decoded(_with_newlines(content))[0]


def require_one_reading(content: bytes) -> None:
    """Raise SyntaxError where a script and a module of these bytes would differ.

    A module is decoded as a whole. Of a script, the lines up to the encoding cookie are read as they stand, so that a
    codec which makes line breaks of them (UTF-7, unicode_escape) hides code from one of the two.
    """
    head = content[:4096].replace(b"\r", b"\n").split(b"\n", 2)[:2]
    if not any(b"coding" in line for line in head):
        return
    content = _with_newlines(content)
    text, encoding, cookie = _decoded(content)
    if encoding in _ALWAYS_ONE_READING:
        return
    comments, rest = content[: len(cookie)].decode(encoding), content[len(cookie) :].decode(encoding)
    lines = comments.removesuffix("\n").split("\n")
    if (
        comments + rest != text
        or len(lines) != len(cookie.removesuffix(b"\n").split(b"\n"))
        or not all(_IS_COMMENT.match(line) for line in lines)
    ):
        raise SyntaxError(f'the encoding "{encoding}" changes the lines up to where it is declared')


def _with_newlines(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _decoded(content: bytes) -> tuple[str, str, bytes]:
    """Return the text, the encoding, and the lines up to its cookie, which may hold bytes of that encoding."""
    if content.startswith(codecs.BOM_UTF8):
        return content.decode("utf-8-sig"), "utf-8-sig", b""
    first, line_end, rest = content.partition(b"\n")
    head = first + line_end
    cookie = _COOKIE.match(first)
    if cookie is None and _IS_COMMENT.match(first.decode("latin-1")):
        second, line_end, _ = rest.partition(b"\n")
        head += second + line_end
        cookie = _COOKIE.match(second)
    if cookie is None:
        return content.decode(), "utf-8", b""
    encoding = _normal(cookie[1].decode("ascii"))
    return content.decode(encoding), encoding, head


def _normal(name: str) -> str:
    """Return a codec's name as the tokenizer takes it: `utf-8-unix` is UTF-8."""
    lowered = name.lower().replace("_", "-")
    for known, others in (("utf-8", ("utf-8",)), ("iso-8859-1", ("latin-1", "iso-8859-1", "iso-latin-1"))):
        if any(lowered == other or lowered.startswith(f"{other}-") for other in others):
            return known
    return name
