"""What a report shows of a file, which may be anything."""

import base64
import json
import struct
import time
import zlib

import pytest

from runner.extras.report.previews import LARGEST, ROWS, NotShownError, preview_of

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def png(width: int = 2, height: int = 2) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height, 1)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    return (
        b"\xff\xd8\xff\xe0\x00\x04ab" + before + b"\xff\xc2\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03"
    )


def svg(inner: str, attributes: str = "") -> bytes:
    return f'<?xml version="1.0"?><svg {NAMESPACES} {attributes}>{inner}</svg>'.encode()


def embedded(content: bytes, kind: str = "png") -> bytes:
    return svg(f'<image xlink:href="data:image/{kind};base64,{base64.b64encode(content).decode()}"/>')


def why(name: str, content: bytes) -> str:
    with pytest.raises(NotShownError) as caught:
        preview_of(name, content)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.png", png(), "image/png"), ("a.JPG", jpeg(3, 4), "image/jpeg"),
        ("a.jpeg", jpeg(3, 4, b"\xff"), "image/jpeg"),
        ("a.svg", svg("<g><circle r='1'/></g>"), "image/svg+xml"), ("a.svg", embedded(png()), "image/svg+xml"),
    ],
)  # fmt: skip
def test_a_picture_is_the_bytes_of_the_file_in_a_data_uri(name, content, kind):
    shown = preview_of(name, content)
    head, _, data = shown.picture.partition(",")
    assert head == f"data:{kind};base64" and base64.b64decode(data) == content and shown.room >= len(shown.picture)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", jpeg(2, 2)), ("a.png", b""), ("a.png", png()[:20]), ("a.png", png(0, 9)), ("a.jpg", png()),
        ("a.jpg", b"\xff\xd8\xff"), ("a.jpg", b"\xff\xd8" + b"\xff" * 99), ("a.jpg", jpeg(0, 1)), ("a.svg", png()),
        ("a.svg", b"<html/>"), ("a.svg", b"<svg>"), ("a.svg", b"<svg/>"), ("a.svg", embedded(b"x")),
        ("a.csv", png()), ("a.txt", b"a\0b"), ("a", b"\xff\xfe"),
    ],
)  # fmt: skip
def test_what_is_not_what_its_ending_says_is_not_shown(name, content):
    assert "content is not" in why(name, content)


@pytest.mark.parametrize("content", [png(7_000, 7_143), embedded(png(7_000, 7_143))])
def test_a_picture_above_50_megapixels_is_not_shown(content):
    name = "a.png" if content.startswith(b"\x89") else "a.svg"
    assert len(content) < 1_000_000 and why(name, content) == "it has 7,000 x 7,143 pixels, more than 50 million"
    assert "65,535 x 800 pixels" in why("a.jpg", jpeg(65_535, 800))


def bomb(link: str) -> bytes:
    steps = (f'<g id="a{i}">' + link.replace("#x", f"#a{i - 1}") * 10 + "</g>" for i in range(1, 30))
    return svg(f'<rect id="a0"/>{"".join(steps)}')


@pytest.mark.parametrize(
    "content",
    [
        bomb('<use xlink:href="#x"/>'), bomb('<use href=" #x"/>'), bomb('<rect style="fill: url( \'#x\' )"/>'),
        bomb('<use><set attributeName="href" to="#x"/></use>'), bomb('<use href="#x"/>').replace(b"#a", b"#%61"),
        svg('<g id="a"><use href="#a"/></g>'), svg("<g>" * 9_000 + "</g>" * 9_000), svg("<g/>" * 100_001),
    ],
)  # fmt: skip
def test_a_drawing_that_makes_a_browser_draw_for_long_is_not_shown(content):
    began = time.process_time()
    assert "elements" in why("a.svg", content) and time.process_time() - began < 2


@pytest.mark.parametrize(
    "content",
    [
        svg("").replace(b"<svg", b'<!DOCTYPE svg [<!ENTITY a "b">]><svg'),
        svg("<style>rect { fill: URL(#a) }</style>"), svg("<style>@import 'x'</style>"),
        svg('<rect style="fill: u\\72l(#a)"/>'), embedded(svg(""), "svg+xml"),
        svg("").replace(b"<svg", b'<?xml-stylesheet href="data:text/css,"?><svg'),
    ],
)  # fmt: skip
def test_a_drawing_that_hides_references_is_not_shown(content):
    assert why("a.svg", content).startswith("the ")


def test_a_plot_of_matplotlib_is_shown():
    points = "".join(f'<use xlink:href="#m" x="{n}" y="1" style="fill: #1f77b4"/>' for n in range(20_000))
    style = '<style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style>'
    clip = '<clipPath id="p"><rect width="9" height="9"/></clipPath>'
    plot = f'<defs>{style}<path id="m" d="M 0 3"/></defs><g clip-path="url(#p)">{points}</g><defs>{clip}</defs>'
    assert preview_of("a.svg", svg(plot, 'width="460pt"')).picture


def test_a_table_has_the_first_200_rows_and_the_number_of_the_others():
    rows = "".join(f'{n},"<b>, {n}"\r\n' for n in range(1000))
    table = preview_of("a.csv", f"\ufeffn,text\n{rows}".encode())
    assert list(table.head) == ["n", "text"] and len(table.rows) == ROWS and table.rows[199] == ["199", "<b>, 199"]
    assert table.rest == "800 more rows"
    assert preview_of("a.tsv", b"a\tb\n1\t2,3\n").rows == [["1", "2,3"]]


def test_a_wide_table_has_the_first_50_columns_and_short_cells():
    table = preview_of("a.csv", (",".join("x" * 400 for _ in range(70)) + "\n" + ",".join("1" * 70) + "\n").encode())
    assert len(table.head) == len(table.rows[0]) == 50 and table.head[0] == "x" * 300 + "…"
    assert table.rest == "20 more columns"


def test_lines_of_json_are_a_table_of_their_names():
    lines = [{"a": 1, "b": "x"}, {"a": 2.50, "c": None, "d": [1, 2]}]
    table = preview_of("a.jsonl", "\n\n".join(json.dumps(line) for line in lines).replace("2.5", "2.50").encode())
    assert list(table.head) == ["a", "b", "c", "d"]
    assert table.rows == [["1", "x", "", ""], ["2.50", "", "null", "(2 values)"]]


def test_a_flat_json_object_is_a_table_of_numbers_as_they_are_spelled():
    table = preview_of("a.json", b'{"genes": 20, "rate": 0.10, "ok": true, "big": 1e999}')
    assert table.rows == [["genes", "20"], ["rate", "0.10"], ["ok", "true"], ["big", "1e999"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'{"a": [1]}'), ("a.json", b"[1"), ("a.json", b"{}"), ("a.json", b"[" * 100_000),
        ("a.jsonl", b"1\n"), ("a.csv", b'"a"b,"\n'), ("a.html", b"<script>alert(1)</script>"),
        ("a.log", b"x"), ("a", "\N{SNOWMAN}".encode()),
        ("a.csv", b'"' + b"x" * 200_000 + b'"'),
    ],
)  # fmt: skip
def test_other_text_is_shown_as_it_is(name, content):
    assert "".join(preview_of(name, content).lines)[:400] == content.decode().rstrip()[:400]


def test_a_text_has_the_first_200_lines_and_short_ones():
    shown = preview_of("a.txt", b"x" * 1000 + b"\n" * 1000)
    assert len(shown.lines) == 200 and len(shown.lines[0]) == 501 and shown.rest == "800 more lines"


def test_the_room_of_a_text_is_what_it_takes_on_the_page():
    assert preview_of("a.txt", b"<" * 500).room > 4 * 500 and preview_of("a.txt", b"\x01" * 500).room > 4 * 500


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"," * LARGEST), ("a.csv", b"\n" * LARGEST), ("a.csv", b"1\n" * (LARGEST // 2)),
        ("a.txt", b"<" * LARGEST),
        ("a.json", b'{"' + b'a":1,"' * (LARGEST // 6) + b'b":2}'), ("a.jsonl", b'{"a":1}\n' * (LARGEST // 8)),
        ("a.svg", svg("<g/>" * (LARGEST // 4))), ("a.svg", b"<" * LARGEST),
        ("a.jpg", b"\xff\xd8\xff" + b"\xff" * LARGEST),
    ],
)  # fmt: skip
def test_two_megabytes_of_anything_take_little_time_and_room(name, content):
    began = time.process_time()
    try:
        assert preview_of(name, content).room < 3_000_000
    except NotShownError:
        pass
    assert time.process_time() - began < 5
