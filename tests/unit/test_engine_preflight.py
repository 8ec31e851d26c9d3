"""A missing program is reported before anything starts, together with all other faults."""

from __future__ import annotations

import os
import signal

import pytest
from pipeline_bench import PipelineBench, shell
from plan_bench import PlanBench

from runner.engine import Options
from runner.engine.preflight import plan_without_lock
from runner.engine.session import Session
from runner.errors import InterruptedRunError
from runner.interrupts import Interrupts


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


def command(*words: str, name: str = "a", **fields: object) -> dict[str, object]:
    return {"name": name, "command": words, "outputs": {"o": f"out/{name}.txt"}, **fields}


def test_a_signal_ends_a_plan_at_the_next_stage(tmp_path):
    bench = PlanBench(tmp_path)
    bench.define(shell("a", "true"), shell("b", "true"))
    session = Session(str(bench.spec), Options(), writes=True)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptedRunError):
            plan_without_lock(session, interrupts, lambda *_: None)


@pytest.mark.parametrize("verb", ["validate", "run"])
def test_nothing_starts_if_a_program_is_missing(bench, verb):
    bench.define(shell("first", "echo >$PIPELINE_OUTPUT_OUT"), command("sort in > out"))
    done = bench.run(verb)
    assert (
        done.returncode == 2 and f'error: {bench.spec}#/stages/1/command/0: no program "sort in > out"' in done.stderr
    )
    assert "no shell is involved" in done.stderr and bench.has_only_refused() and not bench.exists("out")


def test_a_missing_interpreter_of_a_processor_is_a_fault(bench):
    bench.write("p.sh", "#!/no/such/shell\n", 0o755)
    bench.define({"name": "a", "processor": "p.sh", "outputs": {"o": "out/a"}})
    done = bench.run("validate")
    assert done.returncode == 2
    assert '#/stages/0/processor: "p.sh" needs the interpreter "/no/such/shell", which does not exist' in done.stderr


def test_validate_reports_programs_imports_and_inputs_together(bench):
    bench.write("p.py", "import socket\n")
    bench.define(
        command("nosuchprogram"),
        {"name": "b", "processor": "p.py", "outputs": {"o": "out/b"}},
        command("cat", "{inputs.i}", name="c", inputs={"i": "absent.txt"}),
    )
    done = bench.run("validate")
    assert done.returncode == 2
    for message in ('no program "nosuchprogram"', "p.py:1: import socket", '"absent.txt": no such file'):
        assert message in done.stderr


def test_an_up_to_date_stage_needs_no_program(bench):
    bench.write("bin/tool", "#!/bin/sh\necho >$PIPELINE_OUTPUT_O\n", 0o755)
    bench.define(command("tool", env={"PATH": f"{bench.root}/bin:/bin"}))
    bench.succeed()
    (bench.root / "bin/tool").unlink()
    assert bench.succeed().stdout.startswith("bench: nothing to do")
    assert bench.run("validate").returncode == 2


def test_a_program_may_be_made_by_an_earlier_stage_or_come_from_a_param(bench):
    tool = "#!/bin/sh\\ncat >/dev/null; echo made >\\$PIPELINE_OUTPUT_O\\n"
    made = f'printf "{tool}" >$PIPELINE_OUTPUT_OUT; chmod +x $PIPELINE_OUTPUT_OUT'
    bench.define(
        shell("make", made, outputs={"out": "bin/tool"}),
        command("bin/tool", name="b", needs=["make"]),
        command("{params.program}", "{outputs.o}", name="c", params={"program": "touch"}),
    )
    bench.succeed("validate")
    bench.succeed()
    assert bench.read("out/b.txt") == b"made\n"


def test_verbs_that_plan_warn_once_and_a_quiet_run_never(bench):
    program = 'import os, sys\nsys.path.insert(0, os.path.join(os.getcwd(), "../lib"))\nfrom cleaning import TEXT\n'
    bench.root = bench.root / "work"
    bench.root.mkdir()
    bench.spec = bench.root / "spec.json"
    bench.write("../lib/cleaning.py", "TEXT = 'x'\n")
    bench.write("stages/a.py", f"{program}open(os.environ['PIPELINE_OUTPUT_O'], 'w').write(TEXT)\n")
    bench.define(
        {"name": "a", "processor": "stages/a.py", "outputs": {"o": "out/a"}},
        command("sh", "-c", "echo >$PIPELINE_OUTPUT_O", "{output.o}", name="b"),
    )
    warning = 'warning: stages/a.py:3: stage a: the module "cleaning" was not found, so changes to it are not noticed\n'
    for verb in ("validate", "plan", "run"):
        warnings = bench.succeed(verb).stderr
        assert warnings.count(warning) == 1 and warnings.count("did you mean {outputs.o}?") == 1
        assert '"env": {"PYTHONPATH": "lib"}' in warnings
    assert "  cleaning  not found: changes to it are not noticed\n" in bench.succeed("explain", "a").stdout
    assert warning in bench.succeed("run").stderr
    assert bench.succeed("run", "-q").stderr == ""


def test_allowing_a_module_that_is_not_banned_gives_a_warning_with_the_nearest_banned_one(bench):
    bench.define(command("touch", "{outputs.o}"), offline={"allowImports": ["socket", "reqests"]})
    warnings = bench.succeed("validate").stderr
    assert (
        warnings
        == f'warning: {bench.spec}#/offline/allowImports/1: nothing bans "reqests"\nhint: did you mean "requests"?\n'
    )
