"""The layout of golden files: one line for a case, or indented lines if it is too long."""

from __future__ import annotations

import json

WIDTH = 120


def spelled(cases: list[object]) -> str:
    inside = ",\n".join(lines(case) for case in cases)
    return f"[\n{inside}\n]\n"


def lines(value: object, indent: str = "", before: int = 0) -> str:
    """Return a JSON value on one line if it fits, else one line for each member. `before`: the width of its name."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or len(indent) + before + len(flat) <= WIDTH:
        return flat
    deeper = f"{indent} "
    if isinstance(value, list):
        members = [lines(member, deeper) for member in value]
    else:
        names = {name: f"{json.dumps(name, ensure_ascii=False)}: " for name in value}
        members = [names[name] + lines(member, deeper, len(names[name])) for name, member in value.items()]
    start, end = "{}" if isinstance(value, dict) else "[]"
    inside = f",\n{deeper}".join(members)
    return f"{start}\n{deeper}{inside}\n{indent}{end}"
