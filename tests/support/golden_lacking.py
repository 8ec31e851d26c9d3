"""Valid specs whose stages lack a program, a module or an input, or import a banned module.

`validate` and `plan` get all of them. `run` gets those that `validate` refuses; what it leaves on disk is recorded too.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from golden_calls import Call, answers, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOKS = (["validate"], ["plan", "--json"])
RUN = ["run", "--json"]
LATE = "input: several files in a word"  # only `run` finds this fault
FAILS = "\nraise SystemExit(3)\n"  # a stage need not succeed here


def stage(name: str = "one", **fields: object) -> dict[str, object]:
    made = {"name": name, "command": ["sh", "-c", "exit 3"], "outputs": {"o": f"out/{name}"}, **fields}
    return {field: value for field, value in made.items() if value is not None}


def python(source: str | bytes, **files: str | bytes) -> dict[str, object]:
    """Return a case with one Python stage and further modules."""
    content = source if isinstance(source, bytes) else source + FAILS
    return {"stages": [stage(command=None, processor="one.py")], "files": {"one.py": content, **files}}


def lacking() -> Iterator[tuple[str, dict[str, object]]]:
    for name, fields in {**PROGRAMS, **INPUTS, **REMARKS}.items():
        yield name, {"stages": [stage(**fields)]}
    for name, source in SOURCES.items():
        yield f"module: {name}", python(source)
    yield from modules()
    yield from several()


PROGRAMS: dict[str, dict[str, object]] = {
    "program: none": {"command": ["no-such-program"]},
    "program: nearly": {"command": ["sortt"]},
    "program: by path": {"command": ["./none.sh"]},
    "program: no leave to run it": {"command": ["./plain.sh"]},
    "program: a directory": {"command": ["./dir"]},
    "program: not on the PATH of env": {"command": ["sort"], "env": {"PATH": "dir"}},
    "program: empty PATH": {"command": ["sort"], "env": {"PATH": ""}},
    "program: no interpreter": {"command": None, "processor": "odd.sh"},
    "program: its interpreter is not there": {"command": ["./odd.sh"]},
    "program: {python} of no file": {"command": ["{python}", "none.py"]},
    "program: {python} of no module": {"command": ["{python}", "-m", "nosuchmodule"]},
    "program: {python} of a banned module": {"command": ["{python}", "-m", "http.server"]},
    "program: {python} -c of a banned import": {"command": ["{python}", "-c", "import socket"]},
    "program: {python} -c that cannot be read": {"command": ["{python}", "-c", "import ("]},
}
INPUTS: dict[str, dict[str, object]] = {
    "input: none": {"inputs": {"i": "none.txt"}},
    "input: nearly": {"inputs": {"i": "inn.txt"}},
    "input: by a list": {"inputs": ["in.txt", "none.txt"]},
    "input: several": {"inputs": {"a": "none.txt", "b": "in.txt", "c": "no/*.txt", "d": "gone/"}},
    "input: glob of nothing": {"inputs": {"i": "*.nothing"}},
    "input: a directory": {"inputs": {"i": "dir"}},
    "input: a file, with a slash": {"inputs": {"i": "in.txt/"}},
    "input: below a file": {"inputs": {"i": "in.txt/x"}},
    "input: no directory": {"inputs": {"i": "gone/"}},
    "input: link to nothing": {"inputs": {"i": "dangling"}},
    "input: link to itself": {"inputs": {"i": "loop"}},
    "input: FIFO": {"inputs": {"i": "fifo"}},
    "input: FIFO in a directory": {"inputs": {"i": "odd/"}},
    "input: glob with a FIFO": {"inputs": {"i": "fif*"}},
    "input: glob with a directory": {"inputs": {"i": "di*"}},
    "input: device": {"inputs": {"i": "/dev/null"}},
    "input: several files on stdin": {"inputs": {"i": "*.txt"}, "stdin": "i"},
    "input: several files in a word": {"inputs": {"i": "*.txt"}, "command": ["sh", "-c", "exit 3", "-{inputs.i}-"]},
    "input: name that is no text": {"inputs": {"i": "bytes/*"}},
}
REMARKS: dict[str, dict[str, object]] = {
    "remark: words of a shell": {"command": ["sort", "in.txt", "|", "sh"]},
    "remark: nearly a placeholder": {
        "command": ["sh", "-c", "exit 3", "{output.o}", "{Input.i}"],
        "inputs": {"i": "in.txt"},
    },
    "remark: placeholder in env": {"env": {"X": "{outputs.o}"}},
    "remark: output like a glob": {"outputs": {"o": "out/*.txt"}},
    "remark: somebody's file": {"outputs": {"o": "other.txt"}},
    "remark: somebody's directory": {"outputs": {"o": "dir/"}},
}
# Left out: a NUL, which releases of Python 3.11 report in different lines.
SOURCES: dict[str, str | bytes] = {
    "found nowhere": "import json\nimport nosuch",
    "part of one found nowhere": "import json.nosuch",
    "name that is no module": "from json import nosuch",
    "found nowhere, in a function": "def f():\n    import nosuch",
    "found nowhere, its absence caught": "try:\n    import nosuch\nexcept ImportError:\n    pass",
    "found nowhere, from": "from nosuch.deeper import thing",
    "relative, without a package": "from . import thing",
    "syntax": "\nx = (",
    "indentation": "if True:\nx = 1",
    "not UTF-8": b"# caf\xe9\nimport json\n",
    "encoding that is said": b"# -*- coding: latin-1 -*-\n# caf\xe9\nraise SystemExit(3)\n",
    "encoding that is none": b"# -*- coding: nosuch -*-\n",
    "empty": b"",
    "banned": "import socket",
    "banned, in the third line": "import os\nimport sys\nimport socket as s, json",
    "banned, from": "from urllib import request",
    "banned, part": "import http.client",
    "harmless part": "from urllib.parse import quote",
    "banned, in a function": "def f():\n    import ssl",
    "banned, absence caught": "try:\n    import requests\nexcept ImportError:\n    pass",
    "banned, for types only": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import socket",
    "banned, import_module": "import importlib\nimportlib.import_module('smtplib')",
    "banned, __import__": "__import__('ftplib')",
    "banned, twice": "import socket\nimport ssl\nimport socket",
    "banned and found nowhere": "import nosuch\nimport socket",
}


def modules() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield cases with several modules, and with lists of banned and allowed modules."""
    yield "local: banned", python("import near", **{"near.py": "import json\nimport socket\n"})
    yield "local: banned, two steps away", python("import a", **{"a.py": "import b\n", "b.py": "\nimport socket\n"})
    yield "local: syntax", python("import near", **{"near.py": "x = (\n"})
    yield "local: found nowhere", python("import near", **{"near.py": "import nosuch\n"})
    package = {"pack/__init__.py": "from . import a\n", "pack/a.py": "from ..up import x\nfrom .none import y\n"}
    yield "local: package", python("import pack", **package)
    yield "local: hides a standard module", python("import json", **{"json.py": "import socket\n"})
    for name, lists in {
        "more": {"bannedImports": ["json"]},
        "fewer": {"allowImports": ["socket"]},
        "both": {"bannedImports": ["socket"], "allowImports": ["socket"]},
        "less specific": {"bannedImports": ["json"], "allowImports": ["json.decoder"]},
        "more specific": {"bannedImports": ["json.decoder"]},
        "a name that bans nothing": {"allowImports": ["json"]},
    }.items():
        source = "import json.decoder\nimport socket"
        yield f"lists: {name}", {**python(source), "top": {"offline": lists}}


def several() -> Iterator[tuple[str, dict[str, object]]]:
    files = {"one.py": "import socket\n", "two.py": "x = (\n"}
    first = stage(command=None, processor="one.py", inputs={"i": "none.txt"})
    second = stage("two", command=None, processor="two.py", inputs={"i": "gone/"})
    third = stage("three", command=["no-such-program"], inputs={"i": "no*.txt"})
    yield "all at once", {"stages": [first, second, third], "files": files}
    yield "program and input", {"stages": [third]}
    yield "input of two stages", {"stages": [stage(inputs={"i": "none.txt"}), stage("two", inputs={"i": "none.txt"})]}
    yield (
        "a stage behind one that lacks its input",
        {"stages": [stage(inputs=["none.txt"]), stage("two", inputs=["out/one"])]},
    )
    yield (
        "the same banned file in two stages",
        {
            "stages": [stage(name, command=None, processor="one.py") for name in ("one", "two")],
            "files": files,
        },
    )


def record(place: Path) -> list[dict[str, object]]:
    cases = [(name, lay_out(place / str(number), case)) for number, (name, case) in enumerate(lacking())]
    lines = ask([(name, where, verb) for name, where in cases for verb in LOOKS])
    refused = {line["case"] for line in lines if line["exit"]} | {LATE}
    return lines + ask([(name, where, RUN) for name, where in cases if refused & {name, f"{name}: validate"}])


def ask(requests: list[tuple[str, Path, list[str]]]) -> list[dict[str, object]]:
    """Perform each verb in its directory."""
    calls = [Call([*verb, "spec.json"], str(where)) for _, where, verb in requests]
    return [
        {"case": f"{name}: {verb[0]}", **outcome(answer), **({"left": left(where)} if verb is RUN else {})}
        for (name, where, verb), answer in zip(requests, answers(calls), strict=True)
    ]


def left(directory: Path) -> list[str]:
    """Return the names that a run has added to a directory."""
    return sorted({"state", "locks", "out", ".offpipe"} & set(os.listdir(directory)))


def lay_out(directory: Path, case: dict[str, object]) -> Path:
    for name in ("dir", "odd", "bytes"):
        (directory / name).mkdir(parents=True)
    texts = {"in.txt": "a\n", "other.txt": "b\n", "plain.sh": "#!/bin/sh\n", "odd.sh": "#!/no/such/interpreter\n"}
    spec = {"specVersion": 1, "name": "lacking", "stages": case["stages"], **case.get("top", {})}
    for name, content in {**texts, **case.get("files", {}), "spec.json": json.dumps(spec)}.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (directory / "odd.sh").chmod(0o755)
    (directory / "plain.sh").chmod(0o644)
    (directory / "dangling").symlink_to("nowhere")
    (directory / "loop").symlink_to("loop")
    os.mkfifo(directory / "fifo")
    os.mkfifo(directory / "odd" / "fifo")
    (directory / os.fsdecode(b"bytes/\xff")).write_text("x")
    return directory
