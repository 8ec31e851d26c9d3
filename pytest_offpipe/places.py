"""On which line of its JSON file each stage stands."""

from __future__ import annotations

import re

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_STAGES = b'"stages"'


def stage_lines(content: bytes) -> list[int]:
    """Return the line, from 1, on which each stage of a valid spec begins."""
    lines: list[int] = []
    depth, is_stages, line, counted = 0, False, 1, 0
    for token in _TOKEN.finditer(content):
        text = token.group()
        if text in b"}]":
            depth -= 1
            is_stages = is_stages and depth >= 2
        elif text in b"{[":
            depth += 1
            if is_stages and depth == 3:
                line += content.count(b"\n", counted, token.start())
                counted = token.start()
                lines.append(line)
        elif depth == 1 and text == _STAGES:
            is_stages = True
    return lines
