#!/usr/bin/env python3
"""Follows renames: gives each mutant of a list the file that holds its text now.

    python3 follow.py CHECKOUT LIST

Prints what moved, and what has no place any more (exit 1), or a test that is not there; rewrites LIST.
"""

import json
import re
import sys
from pathlib import Path


def main() -> int:
    checkout, listed = Path(sys.argv[1]), Path(sys.argv[2])
    mutants, bad = json.loads(listed.read_text()), 0
    sources = {str(path.relative_to(checkout)): path.read_text() for path in (checkout / "runner").rglob("*.py")}
    tests = {str(path.relative_to(checkout)): path.read_text() for path in (checkout / "tests").rglob("*.py")}
    for mutant in mutants:
        if sources.get(mutant["file"], "").count(mutant["old"]) != 1:
            places = [name for name, text in sources.items() if text.count(mutant["old"]) == 1]
            if len(places) == 1:
                print(f"{mutant['id']}: {mutant['file']} -> {places[0]}")
                mutant["file"] = places[0]
            else:
                print(f"{mutant['id']}: NO PLACE, or several: {places}")
                bad = 1
        nodes = [mutant["killed_by"]] if isinstance(mutant["killed_by"], str) else mutant["killed_by"]
        for at, node in enumerate(nodes):
            path, _, name = node.partition("::")
            function = re.compile(rf"^ *(?:async )?def {re.escape(name.partition('[')[0].rpartition('::')[2])}\(", re.M)
            if path in tests and function.search(tests[path]):
                continue
            homes = [other for other, text in tests.items() if function.search(text)]
            if len(homes) == 1:
                print(f"{mutant['id']}: {path} -> {homes[0]}")
                nodes[at] = f"{homes[0]}::{name}"
            else:
                print(f"{mutant['id']}: NO TEST, or several: {node} {homes}")
                bad = 1
        mutant["killed_by"] = nodes[0] if len(nodes) == 1 else nodes
    listed.write_text(json.dumps(mutants, indent=1, ensure_ascii=False) + "\n")
    return bad


if __name__ == "__main__":
    sys.exit(main())
