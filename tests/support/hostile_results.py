"""Files that a report shows as results: plain ones, and those that try to run, to reach out, or to take long."""

from __future__ import annotations

import struct
import zlib

SCRIPT = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">"
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def png(width: int, height: int) -> bytes:
    """A black picture, compressed well."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    packer, row = zlib.compressobj(9), bytes(1 + 3 * width)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def svg(inner: str, size: int = 400) -> bytes:
    return f'<svg {NAMESPACES} width="{size}" height="{size}">{inner}</svg>'.encode()


def plain() -> dict[str, bytes]:
    """A picture of each kind, and a table."""
    return {
        "a.png": png(300, 200),
        "b.svg": svg('<rect width="400" height="400" fill="teal"/>'),
        "c.csv": b'n,text\n1,"1,000"\n' + b"2," + b"wide" * 400 + b"\n",
        "d.log": b"one\ntwo\n",
    }


def hostile(url: str) -> dict[str, bytes]:
    """Files that try to run a script, or to reach `url`."""
    style = f"<style>@import '{url}/a.css'; * {{ background: url({url}/b.png) }}</style>"
    links = "".join(
        f'<link rel="{rel}" href="{url}/{rel}">' for rel in ("preconnect", "dns-prefetch", "prefetch", "stylesheet")
    )
    lure = f'<a href="javascript:document.title=1">a</a><a ping="{url}/p" href="{url}">b</a>'
    refresh = f'<meta http-equiv="refresh" content="0;url={url}/r"><base href="{url}/">'
    reach = f"{SCRIPT}{style}{links}{lure}{refresh}<img src='{url}/i'><iframe src='{url}/f'></iframe>"
    drawing = (
        f'<script>fetch("{url}")</script><image xlink:href="{url}/i.png" width="9" height="9"/><use href="{url}#a"/>'
        f'<a xlink:href="javascript:1"><rect width="9" height="9" fill="url({url}/p#a)" onclick="alert(1)"/></a>'
        f'<foreignObject width="99" height="99"><body xmlns="http://www.w3.org/1999/xhtml"><img src="{url}/i"/>'
        f'<link rel="preconnect" href="{url}"/><iframe src="{url}"/></body></foreignObject>'
    )
    close = f"</td></table></pre></details></figure></style></title>--></textarea>{reach}"
    return {
        "a.html": f"<!doctype html><body onload='fetch(\"{url}\")'>{reach}".encode(),
        "b.svg": svg(drawing),
        "c.svg": svg(style),
        "d.svg": f'<!DOCTYPE svg SYSTEM "{url}/x.dtd"><svg {NAMESPACES}><rect width="9" height="9"/></svg>'.encode(),
        "e.csv": f'"{close.replace(chr(34), chr(34) * 2)}",b\n=cmd|x,"{url}"\n'.encode(),
        "f.csv": png(9, 9),
        "g.json": b'{"</script><script>document.title=1</script>": "javascript:1"}',
        "h.txt": close.encode(),
        "i.png": f"<svg {NAMESPACES}>{SCRIPT}</svg>".encode(),
        "j.jpg": f"<html>{reach}".encode(),
        f"k{SCRIPT.replace('/', '')}.txt": b"x",
        "l\" onerror=\"document.title='ran'.png": png(9, 9),
        "m.md": f"[a](javascript:1) ![b]({url}/i.png)".encode(),
    }


def bombs() -> dict[str, dict[str, bytes]]:
    """Files that are small, or many, and take long to read or to draw, by kind."""
    steps = "".join(f'<g id="a{i}">' + f'<use href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, 9))
    most = svg(f'<g id="g">{"<rect/>" * 999}</g>' + '<use href="#g"/>' * 90)
    marks = "".join(f'<use href="#m" x="{n % 400}" y="{n // 400}"/>' for n in range(30_000))
    return {
        "tables": {
            "a.csv": b"a,b\n" + b"1,2\n" * 1_000_000,
            **{f"{n:02}.csv": b"a,b\n" + b"<>,2\n" * 300_000 for n in range(30)},
            **{f"w{n:02}.csv": b"," * 1_999_999 for n in range(30)},
        },
        "texts": {f"{n:02}.txt": (b"<&" * 400 + b"\n") * 2_000 for n in range(60)},
        "drawings": {
            "a.svg": svg(f'<rect id="a0" width="1" height="1"/>{steps}'),
            **{f"{n}.svg": most for n in range(9)},
        },
        "points": {
            f"{n:02}.svg": svg(f'<defs><path id="m" d="M0 0h2v2h-2z"/></defs><g>{marks}</g>') for n in range(30)
        },
        "pixels": {"a.png": png(8_000, 8_000), **{f"{n:02}.png": png(7_000, 7_000) for n in range(20)}},
    }
