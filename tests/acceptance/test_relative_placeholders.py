"""Placeholders give paths relative to root, so no directory of the machine gets into an output."""

from __future__ import annotations

import os
import re

import pytest
from pipeline_bench import PipelineBench

SHOWS = 'exec >"$PIPELINE_OUTPUT_O"; printf "%s\\n" "$@"'
COUNT = {
    "name": "count", "command": ["wc", "-l", "{inputs.x}"], "stdout": "n",
    "inputs": {"x": "in/a.txt"}, "outputs": {"n": "out/n.txt"},
}  # fmt: skip
PACK = {
    "name": "pack", "command": ["tar", "cf", "{outputs.t}", "{inputs.x}"],
    "inputs": {"x": "in/a.txt"}, "outputs": {"t": "out/a.tar"},
}  # fmt: skip


def shows(*words: str, **fields: object) -> dict[str, object]:
    """A stage that writes its words to its output `o`, one a line."""
    return {"name": "shows", "command": ["sh", "-c", SHOWS, "sh", *words], "outputs": {"o": "out/o.txt"}, **fields}


def shown(bench: PipelineBench, place: str = ".") -> list[str]:
    return bench.read(f"{place}/out/o.txt").decode().splitlines()


def test_outputs_have_the_same_bytes_in_another_directory(tmp_path) -> None:
    made = []
    for name in ("one", "some/where else"):
        bench = PipelineBench(tmp_path / name)
        os.utime(bench.write("in/a.txt", "a\n"), (0, 0))  # tar keeps the time
        bench.define(COUNT, PACK)
        bench.succeed()
        made.append((bench.read("out/n.txt"), bench.read("out/a.tar")))
    assert made[0] == made[1]
    assert made[0][0] == b"1 in/a.txt\n"


def test_words_and_lists_are_relative_and_variables_absolute(bench) -> None:
    bench.write("in/-b.txt", "")
    bench.write("in/a.txt", "")
    stage = shows("{inputs.some}", "--to={outputs.o}", "{list.some}", inputs={"some": "in/*.txt"})
    stage["command"][2] += ' "$PIPELINE_INPUT_SOME"; cat "$4"'
    bench.define(stage)
    bench.succeed()
    first, second, to, listed, *others = shown(bench)
    assert [first, second] == ["in/-b.txt", "in/a.txt"]
    assert re.fullmatch(r"--to=out/\.partial-[0-9a-f]{6}\.o\.txt", to)
    assert re.fullmatch(r"state/tmp/.+\.list", listed)
    assert others == [f"{bench.root}/in/-b.txt", f"{bench.root}/in/a.txt", "in/-b.txt", "in/a.txt"]


@pytest.mark.full_after(2)
@pytest.mark.parametrize(("source", "target", "command"), [
    ("a.txt", "a:b.tar", ["tar", "cf", "{outputs.y}", "{inputs.x}"]),
    ("-n.txt", "y", ["cp", "{inputs.x}", "{outputs.y}"]),
    ("-n.txt", "y", ["sh", "-c", 'xargs -a "$0" cat >"$1"', "{list.x}", "{outputs.y}"]),
    ("a=b.txt", "y", ["sh", "-c", 'awk "{ print }" "$0" >"$1"', "{inputs.x}", "{outputs.y}"]),
])  # fmt: skip
def test_no_file_name_is_taken_for_an_option_a_host_or_an_assignment(bench, source, target, command) -> None:
    bench.write(source, "x\n")
    bench.define({"name": "a", "command": command, "inputs": {"x": source}, "outputs": {"y": target}})
    bench.succeed()
    assert b"x\n" in bench.read(target)


def test_what_lies_outside_root_stays_absolute(bench, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    outside = tmp_path_factory.mktemp("outside") / "far.txt"
    outside.touch()
    bench.write("in.txt", "x\n")
    copy = {
        "name": "copy", "command": ["cp", "{inputs.x}", "{outputs.y}"],
        "inputs": {"x": "in.txt"}, "outputs": {"y": "y.txt"},
    }  # fmt: skip
    inputs = {"x": "in.txt", "far": str(outside), "y": "y.txt"}
    bench.define(copy, shows("{inputs.x}", "{inputs.far}", "{inputs.y}", "{list.x}", "{outputs.o}", inputs=inputs))
    for workspace, below in ((elsewhere, f"{elsewhere}/"), (bench.root / "below", "below/")):
        bench.succeed("run", "--workspace", str(workspace))
        x, far, y, listed, output = shown(bench, str(workspace))
        assert [x, far, y] == ["in.txt", str(outside), f"{below}y.txt"]
        assert listed.startswith(f"{below}state/tmp/") and output.startswith(f"{below}out/.partial-")


def test_a_program_that_is_an_input_is_never_looked_up_in_path(bench) -> None:
    bench.write("true", '#!/bin/sh\necho "$0" >"$1"\n', 0o755)
    bench.define(
        {"name": "a", "command": ["{inputs.p}", "{outputs.o}"], "inputs": {"p": "true"}, "outputs": {"o": "o"}}
    )
    bench.succeed()
    assert bench.read("o").endswith(b"/true\n")
