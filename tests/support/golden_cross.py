"""Broken specs that a schema cannot find: faults between stages, between spec and disk, and invalid JSON."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Spec = dict[str, object]


def stage(name: str, **fields: object) -> dict[str, object]:
    """Return a valid stage with some fields replaced, or left out if the value is None."""
    made = {"name": name, "command": ["true"], "outputs": {"o": f"out/{name}"}, **fields}
    return {field: value for field, value in made.items() if value is not None}


def spec(*stages: dict[str, object], **top: object) -> Spec:
    return {"specVersion": 1, "name": "cross", **top, "stages": list(stages)}


def chain(*names: str, back: str = "") -> list[dict[str, object]]:
    """Return stages that each read the output of the stage before; the first reads the output of `back`."""
    before = [back, *names][: len(names)]
    return [
        stage(name, inputs={"i": f"out/{other}"} if other else {}) for name, other in zip(names, before, strict=True)
    ]


def across_stages() -> Iterator[tuple[str, Spec]]:
    yield from graphs()
    yield from names()
    yield from (("output " + path, spec(stage("a", outputs={"o": path}))) for path in OUTPUTS)
    yield from (("input " + path, spec(stage("a", inputs={"i": path}))) for path in INPUTS)
    yield from (("processor " + path, spec(stage("a", command=None, processor=path))) for path in PROCESSORS)
    yield from (("word " + word, spec(stage("a", command=["true", word], **WORDED))) for word in WORDS)
    yield from (
        (f"{field} {path}", spec(stage("a"), **{field: path}))
        for field in ("root", "stateDir", "locksDir")
        for path in DIRECTORIES
    )
    yield from programs()
    yield from meeting_outputs()


def graphs() -> Iterator[tuple[str, Spec]]:
    yield "cycle of two by files", spec(*chain("a", "b", back="b"))
    yield "cycle of three by files", spec(*chain("a", "b", "c", back="c"))
    yield "two cycles", spec(*chain("a", "b", back="b"), *chain("c", "d", back="d"))
    yield "cycle of twenty", spec(*chain(*(f"s{number}" for number in range(20)), back="s19"))
    yield "cycle behind a stage", spec(stage("x", needs=["b"]), *chain("a", "b", back="b"))
    yield "cycle by needs", spec(stage("a", needs=["b"]), stage("b", needs=["a"]))
    yield "cycle by needs and files", spec(stage("a", needs=["b"]), stage("b", inputs={"i": "out/a"}))
    yield "cycle by a glob", spec(stage("a", inputs={"i": "out/*"}), stage("b", inputs={"i": "out/a"}))
    yield "cycle by a directory", spec(stage("a", inputs={"i": "d/x"}), stage("b", inputs=["out/a"], outputs=["d/"]))
    yield "needs itself", spec(stage("a", needs=["a"]))
    yield "needs nobody", spec(stage("a", needs=["bb", "A"]), stage("b"))
    yield "needs one twice", spec(stage("a"), stage("b", needs=["a", "a"]))
    yield "two faults and a cycle", spec(*chain("a", "b", back="b"), stage("c", needs=["z"], stdin="q"))
    yield "faults of three stages", spec(stage("c", needs=["z"]), stage("b", stdin="q"), stage("a", args=["x"]))


def names() -> Iterator[tuple[str, Spec]]:
    for name in ("a", "A", "pipeline", "Pipeline", "ledger", "con", ".a", "-a", "a/b", "a b", "a.", "ä", "a" * 101):
        yield f"stages a and {name[:12]}", spec(stage("a"), stage(name, outputs=["other"]))
    yield "labels that meet", spec(stage("a", inputs={"a-b": "in.txt", "a_b": "in.txt"}, outputs={"x": "o", "X": "p"}))
    yield "stems that meet", spec(stage("a", inputs=["in.txt", "dir/in.txt"], outputs=["o/x.txt", "p/x.txt"]))
    yield "stems that are no labels", spec(stage("a", inputs=["7.txt", ".hidden", "a b.txt", "/"], outputs=["*.txt"]))
    yield "stdin nowhere", spec(stage("a", stdin="in", inputs={"i": "in.txt"}))
    yield "stdout nowhere", spec(stage("a", stdout="out"))
    yield "stdin a directory", spec(stage("a", stdin="d", inputs={"d": "dir/"}))
    yield "stdout a directory", spec(stage("a", stdout="d", outputs={"d": "made/"}))
    yield "env", spec(stage("a", env={"PIPELINE_X": "1", "A=B": "1", "": "1", "OK": "{inputs.i}", "LD_PRELOAD": "x"}))
    yield "params nested deeply", spec(stage("a", params={"p": nested(64), "q": nested(65)}))
    yield "x- nested deeply", spec(stage("a"), **{"x-a": nested(64), "x-b": nested(65)})


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def programs() -> Iterator[tuple[str, Spec]]:
    yield "no program", spec(stage("a", command=None))
    yield "two programs", spec(stage("a", processor="run.sh"))
    yield "command of no words", spec(stage("a", command=[]))
    yield "command of an empty word", spec(stage("a", command=["", "x"]))
    yield "args of a command", spec(stage("a", args=["x"]))
    yield "a faulty command and a processor", spec(stage("a", command=7, processor="run.sh"))
    yield "a faulty command, nothing else", spec(stage("a", command=None, processor=None, args=["{inputs.q}"]))
    yield "a NUL by a param", spec(stage("a", command=["true", "{params.p}"], params={"p": "a\0b"}))
    yield "a shell's words", spec(stage("a", command=["sort", "in.txt", ">", "out", "&&", "true"]))
    yield "find's words", spec(stage("a", command=["find", ".", ";"]))
    yield "inputs that are faulty", spec(stage("a", command=["true", "{inputs.q}"], inputs=7, stdin="q"))


def meeting_outputs() -> Iterator[tuple[str, Spec]]:
    def meet(name: str, *paths: str, **top: object) -> tuple[str, Spec]:
        stages = [stage(f"s{number}", outputs={"o": path}) for number, path in enumerate(paths)]
        return f"outputs {name}", spec(*stages, **top)

    yield meet("twice", "o", "o")
    yield meet("twice, spelled otherwise", "d/o", "./d//o")
    yield meet("thrice", "o", "o", "o")
    yield meet("in another", "d/", "d/x")
    yield meet("around another", "d/x/y", "d/")
    yield meet("file below a file", "d", "d/x")
    yield meet("differing by case", "o", "O")
    yield "outputs twice in a stage", spec(stage("a", outputs={"o": "x", "p": "x", "q": "x/y"}))
    yield "an output that is read", spec(stage("a", inputs={"i": "x"}, outputs={"o": "x"}))
    yield "an output that a glob reads", spec(stage("a", inputs={"i": "d/*"}, outputs={"o": "d/x"}))
    yield "an output in a directory read", spec(stage("a", inputs={"i": "d/"}, outputs={"o": "d/x"}))
    yield (
        "an output that is another's processor",
        spec(stage("a", command=None, processor="run.sh"), stage("b", outputs=["run.sh"])),
    )


OUTPUTS = (
    *"../o /tmp/o o/../../x . ./ / .. spec.json run.sh dir dir/ in.txt/ in.txt/x link/x link link/ out-link/x".split(),
    *"state state/ state/x locks/x .offpipe/x a//b/ *.txt .partial-abcdef.x d/.partial-abcdef.x a/./b a/../b".split(),
    "n" * 235, "n" * 236, "n" * 256 + "/x", "d" * 255 + "/x", "sp ace",
)  # fmt: skip
INPUTS = (
    *"*.txt **/x d/../*.txt */../x .*/x d/.[a-z]* [ [] [!a] ? ** a**b ../up.txt /etc/hosts spec.json state/x".split(),
    *"none.txt dir dir/ in.txt/ link/ in.txt/x nul*".split(),
)
PROCESSORS = (
    *"run.sh plain.sh none.sh none.py rin.sh dir ../run.sh /bin/true in.txt link true".split(),
    *"offpipe:stage_copy.py offpipe:copy offpipe:stage_kopy.py offpipe: offpipe:../x.py".split(),
)
WORDED = {"inputs": {"text": "in.txt"}, "params": {"p": [1]}}
WORDS = (
    *"{inputs.text} {inputs.txet} {list.text} {list.no} {outputs.o} {outputs.p} {params.p} {params.q} {python}".split(),
    *"{input.text} {output.o} {Params.p} {inputs.} {} {a.b} {{inputs.no}} -{inputs.no}{params.no}-".split(),
)
DIRECTORIES = (
    ".",
    "dir",
    "none",
    "in.txt",
    "..",
    "/tmp",
    "a/../..",
    "link",
    "out",
    "out/a",
    ".offpipe",
    "dir/",
    "run.sh",
)


# ---- bytes -----------------------------------------------------------------------------------------------------------


def odd_files() -> Iterator[tuple[str, bytes]]:
    """Yield files that no JSON value describes. No trailing comma: Python 3.13 reports another column for it."""
    valid = json.dumps(spec(stage("a"))).encode()
    for name, content in {**BYTES, **whole_values(), **encodings(valid)}.items():
        yield f"bytes: {name}", content
    for name, text in MEMBERS.items():
        yield f"bytes: {name}", valid.replace(b'"name"', text.encode() + b', "name"', 1)
        yield f"bytes: {name} in a stage", valid.replace(b'"command"', text.encode() + b', "command"')


def whole_values() -> dict[str, bytes]:
    return {f"only {text}": text.encode() for text in ("[]", '"x"', "7", "null", "true", "{}", "NaN")}


def encodings(valid: bytes) -> dict[str, bytes]:
    text = valid.decode()
    return {
        "BOM": codecs.BOM_UTF8 + valid,
        "two BOMs": codecs.BOM_UTF8 * 2 + valid,
        "BOM in the middle": valid.replace(b",", b"," + codecs.BOM_UTF8, 1),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "UTF-32": text.encode("utf-32"),
        "not UTF-8": b"{\n\n" + valid[1:].replace(b"cross", b"cr\xffss"),
        "surrogate in UTF-8": valid.replace(b"cross", b"\xed\xa0\x80"),
        "NUL": valid.replace(b"cross", b"cr\0ss"),
        "CR LF": json.dumps(spec(stage("a")), indent=1).replace("\n", "\r\n").encode(),
        "deep": valid.replace(b'"cross"', b"[" * 200_000 + b"]" * 200_000),
        "something behind it": valid + b"\n{}",
        "cut": valid[:-1],
    }


BYTES = {
    "empty": b"",
    "white space": b" \n\t\n",
    "a word": b"spec",
    "single quotes": b"{'name': 1}",
    "a comment": b'{\n  // why\n  "name": 1}',
    "no colon": b'{\n "name" "x"}',
    "no comma": b'{"a": 1\n   "b": 2}',
    "control character": b'{"a": "x\ny"}',
    "bad escape": b'{"a": "\\q"}',
    "leading zero": b'{"a": 01}',
    "plus": b'{"a": +1}',
}
MEMBERS = {
    "key twice": '"x-a": 1, "x-a": 1',
    "key thrice": '"x-a": 1, "x-a": 2, "x-a": 3',
    "known key twice": '"specVersion": 1, "name": "q"',
    "key twice deeper": '"x-a": {"b": [{"c": 1, "c": 2}]}',
    "NaN": '"x-a": NaN',
    "Infinity": '"x-a": [1, -Infinity]',
    "too large": '"x-a": 1e999',
    "too many digits": '"x-a": ' + "9" * 5000,
    "half a surrogate": '"x-a": "\\ud800"',
    "half a surrogate as key": '"x-a\\udc00": 1',
    "a whole surrogate pair": '"x-a": "\\ud83d\\ude00"',
    "all at once": '"x-a": NaN, "x-b": 1e999, "x-a": "\\udfff"',
}
