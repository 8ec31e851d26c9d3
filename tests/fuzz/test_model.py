"""After any sequence of edits, damage, runs, kills and `clean`, a simple model says what is up to date.

`plan` agrees with the model, a run starts what the model says and nothing else, and its outputs have the bytes that
the model computes. Hypothesis makes up the sequences; OFFPIPE_FUZZ=1000 takes ten times as many.
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
from model_pipeline import ORDER, OUTPUTS, Model, ModelPipeline
from pipeline_bench import ROOT, PipelineBench

pytestmark = pytest.mark.full

TEXTS = ("", "a\n", "some\ntext\n", "more\nof\nit\n", "no line end")
NEEDED = {"up": ("up",), "join": ("up", "join"), "tree": ("up", "join", "tree"), "side": ("side",)}
NO_TRACE = why_not()

texts, stages = st.sampled_from(TEXTS), st.sampled_from(ORDER)
inputs = st.sampled_from(["one", "two"])


class Machine(RuleBasedStateMachine):
    """A pipeline in its own directory, run by real processes of the checkout, and its model."""

    checkout = ROOT
    temporary = ()

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="offpipe-model-"))
        self.pipeline = ModelPipeline(self.root, self.temporary)
        self.model = Model(self.pipeline)
        self.bench = PipelineBench(self.root)

    def teardown(self):
        try:
            self.run()
            self.run()
        finally:
            self.bench.close()
            shutil.rmtree(self.root)

    # ---- what people do to files ----

    @rule(name=inputs, text=texts)
    def edit_input(self, name, text):
        self.pipeline.write_input(name, text)

    @rule(name=inputs, moment=st.integers(0, 5))
    def touch_input(self, name, moment):
        self.pipeline.touch_input(name, moment)

    @rule(version=st.integers(1, 3))
    def edit_processor(self, version):
        self.pipeline.write_processor(version)

    @rule()
    def touch_processor(self):
        self.pipeline.touch_processor()

    @rule(prefix=st.sampled_from(["m1", "m2"]))
    def edit_imported_module(self, prefix):
        self.pipeline.write_module(prefix)

    @rule(number=st.integers(1, 2))
    def change_param(self, number):
        self.pipeline.write_param(number)

    @rule(stage=stages, which=st.integers(0, 1), how=st.sampled_from(["delete", "edit"]))
    def spoil_output(self, stage, which, how):
        path = self.root / OUTPUTS[stage][which % len(OUTPUTS[stage])]
        if path.exists():
            if how == "delete":
                path.unlink()
            else:
                path.write_text(path.read_text() + "edited\n")
            if OUTPUTS[stage][which % len(OUTPUTS[stage])] not in self.temporary:
                self.model.spoilt.add(stage)

    @rule(stage=stages, how=st.sampled_from(["delete", "damage"]))
    def spoil_marker(self, stage, how):
        path = self.root / f"state/stage_{stage}.json"
        if path.exists():
            if how == "delete":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:-20])
            self.model.unmarked.add(stage)

    @rule(how=st.sampled_from(["delete", "damage"]))
    def spoil_cache(self, how):
        path = self.root / "state/files.json"
        if path.exists():
            if how == "delete":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[1:])

    # ---- what people run ----

    @rule()
    def run(self):
        self.finish(ORDER)

    @rule(stage=stages)
    def run_one(self, stage):
        self.finish(NEEDED[stage], stage)

    @precondition(lambda self: not NO_TRACE)
    @rule(position=st.integers(1, 250), who=st.sampled_from(["all", "runner"]), torn=st.booleans(), named=st.booleans())
    def run_and_kill(self, position, who, torn, named):
        chosen = ("join",) if named else ()
        self.kill(NEEDED["join"] if named else ORDER, *chosen, position=position, who=who, torn=torn)

    @precondition(lambda self: not (self.temporary and self.model.open | self.model.loose))
    @rule()
    def clean(self):  # while a run is open, a marker comes back whose outputs that run had removed
        done = self.bench.run("clean", cwd=self.checkout)
        assert done.returncode == 0, done.stderr
        self.model.forget()

    # ---- what must hold ----

    @invariant()
    def plan_agrees(self):
        if self.model.loose or not hasattr(self, "bench"):
            return  # only the next run, not a plan, finishes what a killed run committed
        if self.checkout == ROOT:
            plan = json.loads(look(self.pipeline.spec, ("plan", "--json")).stdout)
        else:
            plan = json.loads(self.bench.run("plan", "--json", cwd=self.checkout).stdout)
        assert {entry["stage"]: entry["decision"] for entry in plan["stages"]} == self.model.decisions(ORDER)
        assert plan["removes"] == self.model.removes()

    def finish(self, chosen, *words):
        """Run to the end, and compare what was started and made with the model."""
        self.forget_notes()
        self.model.note_absent()
        done = self.bench.run("run", "-j1", *words, cwd=self.checkout)
        assert done.returncode == 0, done.stdout + done.stderr
        self.judge(chosen)

    def kill(self, chosen, *words, position, **how):
        """Run and kill at a call; the model takes what was committed before as complete."""
        self.forget_notes()
        self.model.note_absent()
        before = self.commits()
        argv = [sys.executable, "-m", "runner", "run", str(self.pipeline.spec), "-j1", *words]
        log = self.root / "trace.log"
        traced = trace(argv, log=str(log), position=position, cwd=str(self.checkout), **how)
        assert not traced.hung
        if not traced.victims:  # the run ended before that call
            assert traced.code == 0, log.read_text()
            self.judge(chosen)
            return
        for _, _, stage in sorted(self.commits() - before):
            self.model.complete(stage)
            self.model.loose.add(stage)
            self.model.open.add(stage)
        self.model.loose |= self.model.unmarked & self.model.open  # the killed run may have restored these

    def judge(self, chosen):
        """Compare what a run started and made with what the model says."""
        must, may = self.model.run(chosen)
        started = self.notes()
        assert len(started) == len(set(started)), f"started twice: {started}"
        assert must <= set(started) <= may, f"started {started}, and was to start {sorted(must)} of {sorted(may)}"
        assert all(self.is_as_made(stage) for stage in chosen)
        assert not (
            chosen == ORDER and any((self.root / path).exists() for path in self.temporary if not self.is_foreign(path))
        )
        left = [path for path in self.bench.leftovers() if "side" in chosen or "side" not in path]
        assert left == []  # a checkpoint of a stage that was not chosen stays
        assert look(self.pipeline.spec, ("verify",)).code in {0, 3}
        self.settle(started)

    def settle(self, started):
        """Tell the model that this run finished what killed runs had committed, even for stages not chosen now."""
        model = self.model
        for stage in model.loose & model.spoilt:
            if self.is_as_made(stage):
                model.spoilt.discard(stage)
        model.unmarked -= (model.open | model.loose) - model.spoilt
        model.loose.clear()
        model.open.difference_update(started)
        if not json.loads(look(self.pipeline.spec, ("status", "--json")).stdout)["openRuns"]:
            model.open.clear()

    def is_foreign(self, path):
        return (self.root / path).exists() and self.model.is_absent(path)

    def is_as_made(self, stage):
        made = {path: self.root / path for path in self.model.made[stage] if path not in self.temporary}
        return all(path.exists() and path.read_text() == self.model.made[stage][name] for name, path in made.items())

    def commits(self):
        """Return each stage.commit as its log, number and stage."""
        committed = set()
        for path in (self.root / "state").glob("audit_2*.jsonl"):
            lines = path.read_bytes().splitlines(keepends=True)
            records = [json.loads(line) for line in lines if line.endswith(b"\n")]
            committed |= {
                (path.name, record["seq"], record["data"]["stage"])
                for record in records
                if record["ev"] == "stage.commit"
            }
        return committed

    def forget_notes(self):
        (self.root / "notes").unlink(missing_ok=True)

    def notes(self):
        path = self.root / "notes"
        return path.read_text().split() if path.exists() else []


class TemporaryMachine(Machine):
    """The same pipeline, in which the outputs that other stages read are temporary."""

    temporary = ("w/up.txt", "w/join.txt")


@pytest.mark.parametrize("machine", [Machine, TemporaryMachine])
def test_what_is_up_to_date_is_what_the_model_says(machine):
    run_state_machine_as_test(machine, settings=settings(max_examples=examples(4), stateful_step_count=10))


# ---- the model itself: it finds planted faults -----------------------------------------------------------------------


def killed_at(name, part):
    how = {"when": lambda call: call.name == name and part in call.path}
    return lambda machine: machine.kill(ORDER, position=1, **how)


REDOES = "        stage = commit.stage\n        marker"
FAULTS = {
    # file, text in it, its replacement, steps before the last run
    "does not know parameters": (
        "plan/fingerprint.py", '"params": stage.params,', '"params": {},', [Machine.run, lambda m: m.change_param(2)],
    ),
    "trusts outputs that were changed": (
        "plan/planner.py", "if present != identity.sha256:", "if False:",
        [Machine.run, lambda m: m.spoil_output("join", 0, "edit")],
    ),
    "does not see what is imported": (
        "plan/code/modules.py", "return LOCAL if self._is_local(directory) else INSTALLED", "return INSTALLED",
        [Machine.run, lambda m: m.edit_imported_module("m2")],
    ),
    "runs what was made again to the same bytes": (
        "plan/planner.py", "        reasons.extend(self._output_reasons(stage, marker))\n",
        (
            "        reasons.extend(self._output_reasons(stage, marker))\n"
            '        reasons.append(Reason("key", "always"))\n'
        ),
        [Machine.run],
    ),
    "forgets what a killed run had committed": (
        "record/recovery.py", REDOES, f"        return False\n{REDOES}",
        [killed_at("rename", "w/join.txt")],
    ),
}  # fmt: skip


def look_and_run(machine):
    machine.plan_agrees()
    machine.run()


def with_fault(tmp_path, path, text, replacement):
    """Copy the runner with `text` replaced; return the directory that contains it."""
    shutil.copytree(ROOT / "runner", tmp_path / "faulty/runner", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "faulty/runner" / path
    content = source.read_text()
    assert text in content, "the text is gone: plant this fault elsewhere"
    source.write_text(content.replace(text, replacement, 1))
    return tmp_path / "faulty"


@pytest.mark.parametrize("runner", ["faulty", "sound"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_finds_a_runner_that(fault, runner, tmp_path):
    path, text, replacement, steps = FAULTS[fault]
    if NO_TRACE and len(steps) == 1:
        pytest.skip(f"cannot trace here: {NO_TRACE}")
    checkout = with_fault(tmp_path, path, text, replacement) if runner == "faulty" else ROOT
    machine = type("Planted", (Machine,), {"checkout": checkout})()
    try:
        for step in steps:
            step(machine)
        if runner == "sound":
            look_and_run(machine)
        else:
            with pytest.raises(AssertionError):
                look_and_run(machine)
    finally:
        shutil.rmtree(machine.root)
