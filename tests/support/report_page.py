"""Reads a report with html5lib, independently of its writer, and strictly: a fault of the HTML is an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import html5lib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element


class ReportPage:
    """The elements of a report, without namespaces in the names of tags."""

    def __init__(self, html: str) -> None:
        self.html = html
        parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
        self.root: Element = parser.parse(html)
        for element in self.root.iter():
            if isinstance(element.tag, str):
                element.tag = element.tag.rpartition("}")[2]

    def text(self, id_: str = "") -> str:
        """The text of the page, or of the section `id_`, with single spaces."""
        element = self.root.find(f".//*[@id='{id_}']") if id_ else self.root.find("body")
        assert element is not None, id_
        return re.sub(r"\s+", " ", " ".join(element.itertext()))

    def rows(self, id_: str) -> list[list[str]]:
        """The cells of each row of the tables in a section."""
        section = self.root.find(f".//section[@id='{id_}']")
        assert section is not None, id_
        return [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in section.iter("tr")]

    def row(self, id_: str, name: str) -> list[str]:
        """The row of a table whose first cell is `name`."""
        (match,) = [row for row in self.rows(id_) if row[0] == name]
        return match

    def references(self) -> Iterator[str]:
        """What makes a browser fetch or run something: elements, attributes, and `url()` or `@import` in styles."""
        for element in self.root.iter():
            if not isinstance(element.tag, str):
                continue
            if element.tag in {"script", "iframe", "object", "embed", "link", "base", "img", "use", "image", "form"}:
                yield element.tag
            for name, value in element.attrib.items():
                bare = name.rpartition("}")[2]
                if bare.startswith("on") or bare in {"src", "srcset", "action"}:
                    yield f"{element.tag} {bare}={value}"
                if bare == "href" and not value.startswith("#"):
                    yield f"{element.tag} {bare}={value}"
                if bare != "xmlns" and re.search(r"url\((?!#)|javascript:", value):
                    yield f"{element.tag} {bare}={value}"
        styles = "".join("".join(style.itertext()) for style in self.root.iter("style"))
        yield from re.findall(r"@import[^;]*|url\((?!#)[^)]*\)", styles)
