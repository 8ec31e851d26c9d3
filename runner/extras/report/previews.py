"""What the page shows of a file: a picture, or the beginning of a table or a text. The file is hostile input.

The kind is what the ending says, if the content agrees. A picture stands in an `img`, where no script runs and nothing
is loaded; all else is text. HTML is text, too: a frame without scripts opens connections that a `link` in it names
(`preconnect`), and no policy of the page forbids that (tried with Chromium 150).
"""

from __future__ import annotations

import csv
import io
import json
import os.path
import re
from base64 import b64decode, b64encode
from functools import cache
from html import escape
from itertools import islice
from struct import unpack
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from runner.display.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST = 2_000_000  # bytes of a file
ROWS = 200  # of a table, and lines of a text
_COLUMNS, _CELL, _LINE = 50, 300, 500  # cells of a row, and characters
_PIXELS = 50_000_000
_ELEMENTS = 100_000  # of a drawing, as often as they are drawn
_ELEMENT = 30  # bytes that count for each of them: Chromium lays out 170,000 in a second
_PNG, _JPEG, _SVG = "image/png", "image/jpeg", "image/svg+xml"
_PICTURES = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".svg": _SVG}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # segments of a JPEG with the size of the picture
_REFERENCE = re.compile(r"#([^\s'\")]+)")
_EMBEDDED = re.compile(r"\s*data:image/(png|jpe?g);base64,([A-Za-z0-9+/=\s]*)", re.IGNORECASE)


class NotShownError(Exception):
    """Why the page does not show a file."""


class Preview(NamedTuple):
    """What is shown: the URI of a `picture`, a table's `head` and `rows`, or `lines`. `rest`: what is left out.

    `room`: how many bytes it counts for on the page.
    """

    room: int
    picture: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = ()
    rest: str = ""


def preview_of(name: str, content: bytes) -> Preview:
    """Return what the page shows of a file with a name. Raises NotShownError."""
    ending = os.path.splitext(name)[1].lower()
    if kind := _PICTURES.get(ending):
        elements = _elements_of(content) if kind == _SVG else 0
        if kind != _SVG:
            _check_pixels(kind, content)
        uri = f"data:{kind};base64,{b64encode(content).decode()}"
        return Preview(max(len(uri), elements * _ELEMENT), uri)
    text = _text_of(content)
    try:
        if ending in _DELIMITERS:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=_DELIMITERS[ending], strict=True)
            return _table(next(reader, []), reader)
        if ending in {".jsonl", ".ndjson"}:
            return _table_of_records([_object(line) for line in text.splitlines() if line.strip()])
        if ending == ".json":
            values = _object(text)
            if not any(isinstance(value, (dict, list)) for value in values.values()):
                return _table(["name", "value"], ([name, _shown(value)] for name, value in values.items()))
    except (ValueError, RecursionError, csv.Error):  # its ending promises more than it holds
        pass
    return _text(text)


# ---- text and tables -------------------------------------------------------------------------------------------------


def _text_of(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotShownError("its content is not text in UTF-8") from error
    if "\0" in text:
        raise NotShownError("its content is not text")
    return text


def _text(text: str) -> Preview:
    lines = text.splitlines()
    shown = [_cut(line, _LINE) for line in lines[:ROWS]]
    return Preview(sum(map(_room, shown)), lines=shown, rest=_more(len(lines) - ROWS, "line"))


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Preview:
    shown = [[_cut(cell, _CELL) for cell in row[:_COLUMNS]] for row in islice(rows, ROWS)]
    rest = _more(sum(1 for _ in rows), "row"), _more(len(head) - _COLUMNS, "column")
    names = [_cut(name, _CELL) for name in head[:_COLUMNS]]
    return Preview(
        sum(_room(cell) for row in [names, *shown] for cell in row),
        head=names,
        rows=shown,
        rest=" and ".join(filter(None, rest)),
    )


def _table_of_records(records: Sequence[dict[str, object]]) -> Preview:
    head = dict.fromkeys(name for record in records[:ROWS] for name in record)
    return _table([*head], ([_shown(record.get(name, "")) for name in head] for record in records))


def _object(text: str) -> dict[str, object]:
    """Return a JSON object whose numbers are spelled as in the text. Raises ValueError for another value."""
    value = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    if not isinstance(value, dict) or not value:
        raise ValueError(text[:_LINE])
    return value


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return f"({counted(len(value), 'value')})"
    return value if isinstance(value, str) else json.dumps(value)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _more(number: int, noun: str) -> str:
    return counted(number, f"more {noun}") if number > 0 else ""


def _room(text: str) -> int:
    return len(escape(printable(text)).encode("utf-8", "replace")) + len("<td></td>")


# ---- pictures --------------------------------------------------------------------------------------------------------


def _check_pixels(kind: str, content: bytes) -> None:
    """Raise NotShownError for what is no picture of this kind, and for one that takes too much memory."""
    width, height = (_png_size if kind == _PNG else _jpeg_size)(content)
    if not width * height:
        raise NotShownError(f"its content is not a {kind.partition('/')[2].upper()} picture")
    if width * height > _PIXELS:
        raise NotShownError(f"it has {width:,} x {height:,} pixels, more than 50 million")


def _png_size(content: bytes) -> tuple[int, int]:
    is_png = content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR" and len(content) > 24
    return unpack(">II", content[16:24]) if is_png else (0, 0)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Return width and height from the first frame, behind segments of other kinds."""
    place = 2 if content.startswith(b"\xff\xd8\xff") else len(content)
    while content[place : place + 1] == b"\xff" and place + 9 <= len(content):
        marker = content[place + 1]
        if marker in _FRAMES:
            height, width = unpack(">HH", content[place + 5 : place + 9])
            return width, height
        place += 1 if marker == 0xFF else 2 + unpack(">H", content[place + 2 : place + 4])[0]
    return 0, 0


def _elements_of(content: bytes) -> int:
    """Return how many elements an SVG draws: what a reference names counts as often as it is referred to.

    Each of a few lines that refers ten times to the one before it makes a browser draw millions of elements. Raises
    NotShownError for that, for what hides references from this count, and for what is no SVG.
    """
    text = _text_of(content)
    if re.search(r"<!ENTITY|<\?xml-stylesheet", text):
        raise NotShownError("the drawing declares entities or style sheets")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without entities
    except (ET.ParseError, ValueError) as error:
        raise NotShownError(f"its content is not SVG: {error}") from error
    if root.tag != "{http://www.w3.org/2000/svg}svg":
        raise NotShownError("its content is not SVG")
    named: dict[str | None, ET.Element] = {}
    for element in root.iter():
        named.setdefault(element.get("id"), element)
        _check_element(element)

    @cache
    def weight(element: ET.Element) -> int:
        references = (unquote(name) for value in element.attrib.values() for name in _REFERENCE.findall(value))
        drawn = (named[name] for name in references if name in named)
        return min(1 + sum(map(weight, element)) + sum(map(weight, drawn)), _ELEMENTS + 1)

    try:
        elements = weight(root)
    except RecursionError as error:  # also of a reference to what is around it
        raise NotShownError("the elements of the drawing are nested too deep") from error
    if elements > _ELEMENTS:
        raise NotShownError(f"the drawing has more than {_ELEMENTS:,} elements")
    return elements


def _check_element(element: ET.Element) -> None:
    """Raise NotShownError for an element of an SVG whose references cannot be counted, or that has a large picture."""
    style = "".join(element.itertext()) if str(element.tag).endswith("}style") else ""
    if re.search(r"url\(|\\|@import", style, re.IGNORECASE):
        raise NotShownError("the style of the drawing refers to something else")
    for value in element.attrib.values():
        embedded = _EMBEDDED.fullmatch(value)
        if "\\" in value or ("data:" in value.lower() and not embedded):
            raise NotShownError("the drawing holds something that is not a picture")
        if embedded:
            padded = "".join(embedded[2].split()).rstrip("=") + "==="
            _check_pixels(_PNG if embedded[1].lower() == "png" else _JPEG, b64decode(padded))
