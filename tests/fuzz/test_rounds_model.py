"""After any sequence of edits, damage, runs and kills, a simple model says which instances a made table gives.

`plan` agrees with the model, a run starts what the model says and nothing else, and gathers what the table names.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from call_tracer import trace, why_not
from fuzz_calls import examples, look
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pipeline_bench import ROOT, PipelineBench

pytestmark = pytest.mark.full

NO_TRACE = why_not()
NAMES = "abc"
SHELL = ["sh", "-c"]
TABLE = "w/names.tsv"


class RoundsMachine(RuleBasedStateMachine):
    """Stage `list` makes a table of names, `call` runs for each, and `all` gathers what they made.

    `keys`: stage -> what it was made from. `spoilt`: its output or its marker is not as a run left it. `last`: the
    names in the last table. `loose`: a run was killed since the last one that ended.
    """

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="offpipe-rounds-"))
        self.bench = PipelineBench(self.root)
        self.keys: dict[str, object] = {}
        self.spoilt: set[str] = set()
        self.unmarked: set[str] = set()
        self.last: tuple[str, ...] = ()
        self.loose = False
        self.edit_names({"a"}, False)
        self.edit_text("x\n")
        self.edit_param(1)

    def teardown(self):
        try:
            self.run()
            self.run()
        finally:
            self.bench.close()
            shutil.rmtree(self.root)

    # ---- what people do ----

    @rule(names=st.sets(st.sampled_from(NAMES)), reverse=st.booleans())
    def edit_names(self, names, reverse):
        self.names = tuple(sorted(names, reverse=reverse))
        self.bench.write("names.txt", "".join(f"{name}\n" for name in self.names))

    @rule(text=st.sampled_from(["x\n", "y\n"]))
    def edit_text(self, text):
        self.text = text
        self.bench.write("x.txt", text)

    @rule(number=st.integers(1, 2))
    def edit_param(self, number):
        self.param = number
        self.bench.define(
            {"name": "list", "command": [*SHELL, "echo list >>notes; echo name; cat"], "stdin": "names", "stdout": "t",
             "inputs": {"names": "names.txt"}, "outputs": {"t": TABLE}, "params": {"n": number}},
            {"name": "call", "each": {"rows": TABLE}, "mayBeEmpty": True, "inputs": {"x": "x.txt"}, "stdin": "x",
             "command": [*SHELL, "echo call@{each.name} >>notes; echo {each.name}; cat"], "stdout": "o",
             "outputs": {"o": "o/{each.name}"}},
            {"name": "all", "command": [*SHELL, 'echo all >>notes; cat "$@"', "-", "{inputs.o}"], "stdout": "all",
             "inputs": {"o": ["x.txt", "{outputs.call.o}"]}, "outputs": {"all": "all.txt"}},
        )  # fmt: skip

    @rule(
        stage=st.sampled_from(["list", "all", *(f"call@{name}" for name in NAMES)]),
        how=st.sampled_from(["edit", "delete"]),
    )
    def spoil_output(self, stage, how):
        path = self.root / {"list": TABLE, "all": "all.txt"}.get(stage, f"o/{stage[-1]}")
        if path.exists():
            path.unlink() if how == "delete" else path.write_text("name\nz\n")
            self.spoilt.add(stage)

    @rule(stage=st.sampled_from(["list", "all", *(f"call@{name}" for name in NAMES)]))
    def remove_marker(self, stage):
        path = self.root / f"state/stage_{stage}.json"
        if path.exists():
            path.unlink()
            self.unmarked.add(stage)
            if "@" in stage:  # else a run that learns of this instance does not replace the file
                (self.root / f"o/{stage[-1]}").unlink(missing_ok=True)

    # ---- what people run ----

    @rule()
    def run(self):
        self.bench.write("notes", "")
        done = self.bench.run("run", "-j1", cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        self.judge()

    @precondition(lambda self: not NO_TRACE)
    @rule(position=st.integers(1, 300), who=st.sampled_from(["all", "runner"]))
    def run_and_kill(self, position, who):
        self.bench.write("notes", "")
        before = self.commits()
        log = str(self.root / "trace.log")
        argv = [sys.executable, "-m", "runner", "run", str(self.bench.spec), "-j1"]
        traced = trace(argv, log=log, position=position, cwd=str(ROOT), who=who)
        assert not traced.hung
        if not traced.victims:
            assert traced.code == 0
            self.judge()
            return
        for stage in self.commits() - before:
            self.complete(stage[-1])
        self.loose = True

    # ---- what must hold ----

    @invariant()
    def plan_agrees(self):
        if self.loose or not hasattr(self, "param"):
            return  # only the next run finishes what a killed run committed
        plan = json.loads(look(self.bench.spec, ("plan", "--json")).stdout)
        assert {entry["stage"]: entry["decision"] for entry in plan["stages"]} == self.decisions()

    def decisions(self):
        """What `plan` must say."""
        if self.is_stale("list"):
            is_due = self.is_touched("all") or self.keys.get("all", (None,))[0] != self.text
            return {"list": "run", "call": "depends", "all": "run" if is_due else "depends"}
        calls = {f"call@{name}": "run" if self.is_stale(f"call@{name}") else "skip" for name in self.names}
        made = {stage[-1] for stage, decision in calls.items() if decision == "skip"}
        text, before = self.keys.get("all", (None, ()))
        if self.is_touched("all") or text != self.text or {*before} - {*self.names} or made - {*before}:
            decision = "run"
        else:
            decision = "depends" if "run" in calls.values() else "skip"
        return {"list": "skip", **calls, "all": decision}

    def key(self, stage):
        if stage == "list":
            return self.names, self.param
        return (self.text, tuple(sorted(self.names))) if stage == "all" else self.text

    def is_touched(self, stage):
        return stage in self.spoilt | self.unmarked

    def is_stale(self, stage):
        return self.keys.get(stage) != self.key(stage) or self.is_touched(stage)

    def judge(self):
        """Compare what a run started and made with the model."""
        must = {stage for stage in ("list", *(f"call@{name}" for name in self.names), "all") if self.is_stale(stage)}
        started = self.bench.read("notes").decode().split()
        assert len(started) == len(set(started)), f"started twice: {started}"
        assert set(started) <= must, f"started {started}, and was to start {sorted(must)}"
        assert self.loose or set(started) == must
        expected = self.text + "".join(f"{name}\n{self.text}" for name in sorted(self.names))
        assert self.bench.read("all.txt").decode() == expected
        assert self.bench.leftovers() == [] and look(self.bench.spec, ("verify", "--outputs")).code in {0, 3}
        for stage in ("list", *(f"call@{name}" for name in self.names), "all"):
            self.complete(stage)
        self.loose = False

    def complete(self, stage):
        self.keys[stage] = self.key(stage)
        self.spoilt.discard(stage)
        self.unmarked.discard(stage)

    def commits(self):
        """Return each stage.commit as its log, number and stage."""
        committed = set()
        for path in (self.root / "state").glob("audit_2*.jsonl"):
            records = [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            committed |= {
                (path.name, each["seq"], each["data"]["stage"]) for each in records if each["ev"] == "stage.commit"
            }
        return committed


def test_a_made_table_gives_the_instances_that_the_model_says():
    run_state_machine_as_test(RoundsMachine, settings=settings(max_examples=examples(4), stateful_step_count=10))
