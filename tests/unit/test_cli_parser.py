"""How a command line is parsed into a verb, its spec and its options."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from forked_runs import offpipe

from runner.cli.parser import VERBS, parse

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "in.txt").write_text("b\na\n")
    stages = [{"name": "sort", "command": ["sort", "-o", "{outputs.o}", "{inputs.i}"], "inputs": {"i": "in.txt"}}]
    stages[0]["outputs"] = {"o": "out.txt"}
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    return path


@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS)], ids=lambda words: "".join(words) or "all")
def test_help_fits_into_80_columns_and_names_existing_docs_only(words) -> None:
    shown = offpipe(*words, "--help")
    assert shown.returncode == 0 and shown.stderr == ""
    assert [line for line in shown.stdout.splitlines() if len(line) > 79] == []
    assert [name for name in re.findall(r"docs/[\w./-]*\w", shown.stdout) if not (ROOT / name).exists()] == []


def test_help_lists_every_verb() -> None:
    shown = offpipe("--help").stdout
    assert [verb for verb in VERBS if not re.search(rf"^ +{verb} ", shown, re.MULTILINE)] == []


@pytest.mark.parametrize("option", ["--work", "--dry", "--par", "--keep", "--js"])
def test_options_are_never_abbreviated(option, spec) -> None:
    shown = offpipe("run", spec, f"{option}=x")
    assert shown.returncode == 2 and f"error: no option {option}\n" in shown.stderr
    assert not (spec.parent / "state").exists()


@pytest.mark.parametrize(
    "words",
    [["--force=slow", "p.json"], ["-f=slow", "p.json"], ["-fslow", "p.json"], ["-f", "slow", "p.json"],
     ["p.json", "slow", "-fslow"], ["ps", "-vfs"]],
)  # fmt: skip
def test_the_hint_for_a_value_of_force_says_where_stages_belong(words, spec) -> None:
    shown = offpipe("run", *words, cwd=spec.parent)
    assert shown.returncode == 2 and "takes no value" in shown.stderr, shown.stderr
    assert "name the stages after the spec" in shown.stderr and "\nhint: " in shown.stderr


def test_an_option_without_its_value_says_that_it_expects_one(spec) -> None:
    shown = offpipe("run", spec, "-j")
    assert shown.returncode == 2 and "-j/--jobs: expected one argument\n" in shown.stderr


NEGATIVE = {
    "run -j -1": '-j/--jobs: "-1" is not a whole number of 1 or more',
    "run -k -j -1": '-j/--jobs: "-1" is not a whole number of 1 or more',
    "run --wait -5": '--wait: "-5" is not a number of seconds of 0 or more',
    "run --wait=-5": '--wait: "-5" is not a number of seconds of 0 or more',
    "run --cluster-wait -0.5": '--cluster-wait: "-0.5" is not a number of seconds of 0 or more',
    "log --attempt -2": '--attempt: "-2" is not a whole number of 1 or more',
    "runs --limit -3": '--limit: "-3" is not a whole number of 1 or more',
    "runs --since -7d": '--since: "-7d" is not a date',
    "prune --keep -30": '--keep: "-30" is not a whole number of 1 or more',
}


@pytest.mark.parametrize("words", NEGATIVE)
def test_a_number_below_zero_is_a_value_and_is_refused_as_such(words, spec) -> None:
    shown = offpipe(*words.split(), spec)
    assert shown.returncode == 2 and f"error: argument {NEGATIVE[words]}" in shown.stderr, shown.stderr
    assert not (spec.parent / "state").exists()


def test_nothing_at_all_is_a_usage_error() -> None:
    shown = offpipe()
    assert shown.returncode == 2 and shown.stderr.startswith("error: no spec given\nhint: ") and shown.stdout == ""


def test_a_mistyped_verb_gets_a_hint_if_no_such_file_exists(spec) -> None:
    shown = offpipe("pln", spec)
    assert shown.returncode == 2
    assert shown.stderr == 'error: pln: no such spec file or verb\nhint: did you mean "plan"?\n'


def test_a_first_word_that_is_no_verb_is_the_spec(spec) -> None:
    assert offpipe(spec).returncode == 0
    assert (spec.parent / "out.txt").read_text() == "a\nb\n"


def test_a_file_named_as_the_mistyped_verb_is_a_spec(spec) -> None:
    spec.rename(spec.parent / "pln")
    assert offpipe("pln", "-n", cwd=spec.parent).stdout == "sort  run      no completed run\n"


def test_options_stand_anywhere(spec) -> None:
    for words in (
        ["-n", spec, "sort"],
        ["run", "--pipeline", spec, "-n", "sort"],
        [spec, "-j2", "sort", "-n", "--wait"],
    ):
        assert offpipe(*words).stdout == "sort  run      no completed run\n"


@pytest.mark.parametrize("words", [["--wait", "3", "SPEC"], ["SPEC", "--wait", "3"], ["run", "SPEC", "--wait", "3"]])
def test_the_hint_for_seconds_after_a_space_is_wait_with_equals(words, spec) -> None:
    shown = offpipe(*(str(spec) if word == "SPEC" else word for word in words))
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "error: --wait: takes a value only with =, so 3 counts as a spec or a stage\nhint: write --wait=3," in (
        shown.stderr
    )


def test_only_a_number_after_wait_gets_the_hint(spec) -> None:
    assert 'no stage named "3"' in offpipe(str(spec), "3", "--wait").stderr
    assert 'no stage named "x"' in offpipe(str(spec), "--wait", "x").stderr
    assert "no option --wait" in offpipe("plan", str(spec), "--wait", "x").stderr


@pytest.mark.parametrize(
    "words",
    [["-v", "plan", "p.json"], ["--workspace", ".", "plan", "p.json"], ["--pipeline", "p.json", "plan"],
     ["-v", "--workspace=.", "plan", "p.json"]],
)  # fmt: skip
def test_options_of_a_verb_may_stand_before_it(words, spec) -> None:
    assert offpipe(*words, cwd=spec.parent).stdout.startswith("sort  run")


@pytest.mark.parametrize(
    "words", [["-q", "clean", "p.json"], ["-q", "status"], ["--bogus", "--", "plan", "p.json"], ["--wait", "log"]]
)
def test_only_options_of_the_verb_may_stand_before_it(words, spec) -> None:
    shown = offpipe(*words, cwd=spec.parent)
    assert shown.returncode == 2 and shown.stderr.startswith(f"error: no option {words[0]}\nhint: ")


def test_a_verb_in_the_place_of_the_spec_is_named(spec) -> None:
    shown = offpipe("plan", "status", cwd=spec.parent)
    assert shown.stderr == "error: status: is a verb, not a spec file\nhint: see offpipe status --help\n"


@pytest.mark.parametrize(
    "words",
    [["run", "--offline=--"], ["run", "--durability=--"], ["graph", "--format=--"], ["status", "--workspace=--"],
     ["run", "-j--"], ["run", "--run-id=--"], ["verify", "--expect-head=--"], ["plan", "--param=--"]],
)  # fmt: skip
def test_two_dashes_are_no_value_of_an_option(words, spec) -> None:
    shown = offpipe(words[0], spec, *words[1:])
    assert shown.returncode == 2 and ": expected one argument\n" in shown.stderr, shown.stderr
    assert not (spec.parent / "state").exists()


def test_words_after_two_dashes_are_no_options(spec) -> None:
    spec.rename(spec.with_name("-h"))
    assert offpipe("plan", "--", "-h", cwd=spec.parent).stdout == "sort  run      no completed run\n"
    assert '\nerror: no stage named "-n"\n' in offpipe("--", "-h", "-n", cwd=spec.parent).stderr
    assert offpipe("graph", "--", "-h", "--json", cwd=spec.parent).returncode == 2


def test_an_unknown_option_and_a_word_too_many_are_named(spec) -> None:
    assert offpipe(spec, "--jbos", "3").stderr == 'error: no option --jbos\nhint: did you mean "--jobs"?\n'
    assert offpipe("validate", spec, "sort").stderr.startswith('error: unexpected argument "sort"\n')
    assert offpipe("explain", spec).stderr == f"error: no stage given\nhint: offpipe plan {spec} lists them\n"


@pytest.mark.parametrize("run_id", ["", "a/b", ".x", "a" * 101, "é", "a\n"])
def test_run_ids_that_could_not_be_file_names_are_refused(run_id, spec) -> None:
    shown = offpipe("run", spec, f"--run-id={run_id}")
    assert shown.returncode == 2 and "is not a run id" in shown.stderr


@pytest.mark.full_after(2)
@pytest.mark.parametrize("words", [("run", "--run-id"), ("log", "--run")])
@pytest.mark.parametrize("run_id", ["Ledger", "ledger"])
def test_ledger_is_refused_as_a_run_id(words, run_id, spec) -> None:
    offpipe("run", spec)
    verb, option = words
    shown = offpipe(verb, spec, option, run_id)
    assert shown.returncode == 2 and "`ledger` is the list of all runs\n" in shown.stderr


@pytest.mark.parametrize(
    "option", ["--jobs=0", "--jobs=x", "--wait=-1", "--wait=soon", "--wait=nan", "--durability=some"]
)
def test_values_that_make_no_sense_are_refused(option, spec) -> None:
    shown = offpipe("run", spec, option)
    assert shown.returncode == 2 and shown.stderr.startswith(f"error: argument {'-j/' if 'jobs' in option else ''}--")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["job"], 'did you mean "job.json"?'),
        (["jbo.json"], 'did you mean "job.json"?'),
        (["status", "jbo.json"], 'did you mean "job.json"?'),
        (["verify", "job"], 'did you mean "job.json"?'),
        (["sub/jobs.json"], 'did you mean "job.json"? (in "sub")'),
        (["elsewhere/x.json"], "the verbs are: "),
    ],
)
def test_every_verb_names_the_most_similar_spec_if_the_given_one_is_missing(words, hint, tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    for path in ("job.json", "sub/job.json"):
        (tmp_path / path).write_text("{}")
    shown = offpipe(*words, cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stderr.startswith(f"error: {words[-1]}: no such spec file") and f"\nhint: {hint}" in shown.stderr


def test_an_option_of_another_verb_is_refused_with_the_verbs_that_have_it(spec) -> None:
    for option in (["--offline", "strict"], ["--wait"]):
        shown = offpipe("plan", spec, *option)
        assert shown.stderr == f"error: no option {option[0]}\nhint: only these have it: offpipe run\n"


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["-q", "-k"], {"quiet": True, "keep_going": True}),
        (["-kqj3"], {"quiet": True, "keep_going": True, "jobs": 3}),
        (["-j", "3", "--workspace=w"], {"jobs": 3, "workspace": "w"}),
        (["-j=3", "--durability", "process"], {"jobs": 3, "durability": "process"}),
        (["--on-failure", "tell"], {"on_failure": "tell"}),
    ],
)
def test_options_that_do_not_matter_without_work_are_plain(words, given, spec) -> None:
    for line in ([*words, str(spec)], ["run", str(spec), *words]):
        arguments = parse(line)
        assert arguments.is_plain and arguments.given == given


@pytest.mark.parametrize("words", [["stage"], ["-n"], ["--json"], ["-v"], ["-f"], ["--wait"], ["--param", "a.b=1"]])
def test_other_options_verbs_and_named_stages_are_not_plain(words, spec) -> None:
    assert not parse([str(spec), *words]).is_plain
    assert not parse(["plan", str(spec)]).is_plain


def test_words_are_read_without_argparse(spec) -> None:
    program = "import sys; from runner.__main__ import main; main(); print(*sys.modules)"
    command = [sys.executable, "-c", program, spec, "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "argparse" not in set(done.stdout.split())
