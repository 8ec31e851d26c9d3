"""Odd command lines of every verb: exit codes, and the option or place that each error names."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING

from golden_calls import Answer, Call, answers, outcome

from runner.cli.parser import OPTIONS, VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITH_SPEC = [verb for verb, (words, _) in VERBS.items() if "SPEC" in words]
DRY = next(verbs.split() for names, _, verbs, _ in OPTIONS if "--dry-run" in names)
FLAGS = ("-n", "-f", "-k", "-q", "-v", "--wait", "--paranoid", "--exit-code", "--outputs", "--state", "--json")
VALUED = ("-j", "--param", "--run-id", "--durability", "--offline", "--format", "--run", "--attempt", "--expect-head",
          "--pipeline", "--workspace")  # fmt: skip
BAD_VALUES = {
    "-j": ("0", "-1", "x", "1.5", "", "1e3"),
    "--jobs": ("0", "99999999999999999999x"),
    "--wait": ("-1", "x", "", "nan"),
    "--durability": ("none", "FULL", ""),
    "--offline": ("no", ""),
    "--run-id": ("", "a/b", ".a", "ledger", "Ledger", "a" * 101, "a b", "ä"),
    "--param": ("", "x", "one", "one.p", "one.p=", "one.p=x", "one.=1", ".p=1", "two.p=1", "one.p=NaN", "one.q=1",
                'one.p="\\ud800"', "one.p={'a':1}", "one.p=[1,{}]", "nobody.p=1"),
    "--workspace": ("none", "spec.json", ""),
    "--pipeline": ("none.json", "", "."),
}  # fmt: skip
LINES = """
''
-
--
-- spec.json
-h
--help
--version
--frob
-x
none
none.json
spec
pan
pan spec.json
spec.json pan
plan plan
plan -- spec.json
plan spec.json -- -f
--json plan spec.json
-f plan spec.json
--exit-code plan spec.json
spec.json plan
plan spec.json --jso
run --keep spec.json
plan --json=1 spec.json
plan -f1 spec.json
run -n --wait 3 spec.json
run -n spec.json --wait 3
run -n --wait=3 spec.json
run -nkfv spec.json
run --dry-run --keep-going --force --verbose spec.json
run --dry-run --quiet --jobs=2 spec.json
plan --force --verbose spec.json
clean --dry-run spec.json
run -nq spec.json
run -nj2 spec.json
run -n -j 2 spec.json
run -n -j2 -j3 spec.json
run -j
run spec.json --jobs
run -n --pipeline spec.json
run -n --pipeline spec.json one
run -n --pipeline=spec.json spec.json
plan --pipeline
plan .
plan dir
plan fifo
plan dangling
plan loop
plan /dev/null
plan in.txt/x
plan specc.json
dir/spec.json
plan dir/none.json
plan --json none.json
plan --json --frob
--json
status --json broken.json
verify --json none
run --json broken.json
run -q broken.json
explain broken.json one
log broken.json
clean broken.json
graph broken.json
verify broken.json
validate broken.json
broken.json
graph spec.json --format=svg
graph spec.json --format
log spec.json --attempt=0
log spec.json --attempt=1
log spec.json one --attempt=x
log spec.json one
log spec.json nobody
log spec.json --run=a/b
log spec.json --run=none
log spec.json one --run=none
log spec.json one two
verify spec.json --expect-head=12
verify spec.json --expect-head=NO_HEAD
verify spec.json --expect-head=A_HEAD
verify spec.json --run=none
verify .
verify empty
verify empty --outputs
verify none
verify in.txt
verify --json empty
explain spec.json
explain spec.json nobody
explain spec.json one two
explain spec.json ''
who spec.json
who spec.json in.txt
who spec.json nobody
who spec.json in.txt spec.json
who broken.json in.txt
plan spec.json nobody onne
plan spec.json -f nobody
plan -f one spec.json
run spec.json nobody
run -n spec.json nobody
run --json spec.json nobody
clean spec.json one
clean -n spec.json
clean spec.json
clean --state spec.json
status spec.json one
status spec.json --exit-code
validate spec.json one
graph spec.json one
doctor spec.json
schema spec.json
schema --json
runs empty spec.json
runs --prometheus x.prom spec.json
runs --summary --prometheus - spec.json
runs --summary --limit 1 spec.json
runs --summary --json empty none spec.json
runs --summary empty
report empty spec.json
report empty spec.json -o -
report empty spec.json -o pages --run one
report empty none -o pages
learn
learn --
learn nosuch
learn -- nosuch -x
learn --name a/b -- nosuch
learn --name
learn --into none.json -- nosuch
learn --into broken.json -- nosuch
learn --into spec.json --name one -- nosuch
learn --into spec.json -- nosuch
""".replace("NO_HEAD", "g" * 64).replace("A_HEAD", "a" * 64)
ODD = ([], ["plan", "a\nb"], ["plan", "a\x1b[31m.json"], ["plan", "n" * 300])


def command_lines() -> Iterator[list[str]]:
    yield from ODD
    yield from map(shlex.split, LINES.strip().splitlines())
    for verb in VERBS:
        spec = ["spec.json"] if verb in WITH_SPEC else []
        stage = ["one"] if VERBS[verb][0].endswith((" STAGE", " PATH")) else []
        dry = ["-n"] if verb in DRY else []
        yield [verb, *dry, *spec, *stage]
        yield from (
            [verb],
            [verb, "--help"],
            [verb, "-h"],
            [verb, "none.json", *stage],
            [verb, *spec, *stage, "--frob"],
        )
        yield from ([verb, *dry, flag, *spec, *stage] for flag in FLAGS)
        yield from ([verb, *dry, *spec, *stage, option] for option in VALUED)
    for option, values in BAD_VALUES.items():
        yield from (
            ["run", "-n", f"{option}={value}" if option[:2] == "--" else option + value, "spec.json"]
            for value in values
        )


def record(place: Path) -> list[dict[str, object]]:
    lines = list(dict.fromkeys(map(tuple, command_lines())))
    calls = []
    for number, words in enumerate(lines):
        directory = place / str(number)
        lay_out(directory)
        calls.append(Call(list(words), str(directory)))
    return [{"words": shlex.join(words), **shape(answer)} for words, answer in zip(lines, answers(calls), strict=True)]


def shape(answer: Answer) -> dict[str, object]:
    """The outcome, and the kind of standard output: the keys of JSON, true for text, false for nothing."""
    value = answer.json()
    printed = sorted(value) if isinstance(value, dict) else bool(answer.out)
    return {**outcome(answer), "stdout": printed}


def lay_out(directory: Path) -> None:
    (directory / "dir").mkdir(parents=True)
    (directory / "empty").mkdir()
    (directory / "in.txt").write_text("a\n")
    (directory / "dangling").symlink_to("nowhere")
    (directory / "loop").symlink_to("loop")
    os.mkfifo(directory / "fifo")
    stage = {
        "name": "one",
        "command": ["true"],
        "inputs": ["in.txt"],
        "outputs": ["out/one"],
        "params": {"p": 1, "a.b": 2},
    }
    spec = {"specVersion": 1, "name": "usage", "stages": [stage]}
    (directory / "spec.json").write_text(json.dumps(spec))
    (directory / "broken.json").write_text(json.dumps({**spec, "stages": [{**stage, "stdin": "x"}], "zzz": 1}))
