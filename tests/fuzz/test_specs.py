"""No spec makes a verb show a traceback, hang, or end in a way that is not documented."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from fuzz_calls import FULL, LOOKS, PATIENCE, RUNNING, SMALL, Answer, call, examples, judge, look
from fuzz_values import WORDS, junk, mutated, spoilt, text_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_bench import ROOT

pytestmark = pytest.mark.full

SPECS = [FULL, SMALL, RUNNING]
CHECKING = (("plan",), ("graph",), ("status",), ("clean", "-n"))


@pytest.fixture(scope="module")
def spec(place):
    return place / "fuzzed.json"


@settings(max_examples=examples(120))
@given(value=mutated(SPECS) | junk, words=st.sampled_from(LOOKS))
def test_verbs_answer_a_mutated_spec(spec, value, words):
    spec.write_bytes(text_of(value))
    look(spec, words)


@settings(max_examples=examples(80))
@given(content=st.sampled_from(SPECS).map(text_of).flatmap(spoilt), words=st.sampled_from(LOOKS))
def test_verbs_answer_a_spec_with_spoilt_bytes(spec, content, words):
    spec.write_bytes(content)
    look(spec, words)


@settings(max_examples=examples(30))
@given(value=mutated(SPECS, most=1))
def test_what_is_valid_for_one_verb_is_valid_for_all(place, spec, value):
    spec.write_bytes(text_of(value))
    nowhere = ("--workspace", str(place / "fresh"))  # without state of a pipeline of another name
    refused = {words: look(spec, (*words, *nowhere)).code == 2 for words in CHECKING}
    assert len(set(refused.values())) == 1, refused


@settings(max_examples=examples(100))
@given(
    words=st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=3),
    verb=st.sampled_from(LOOKS),
    value=junk,
    name=st.sampled_from(["to", "x"]),
)
def test_verbs_answer_any_words_on_the_command_line(place, words, verb, value, name):
    arguments = [word for word in words if "\0" not in word and word.isprintable()]  # what a process can be given
    text = json.dumps(value)
    param = () if verb[0] in {"graph", "verify", "log", "clean"} else (f"--param=copy.n={text}",)
    var = (f"--var={name}={text}",) if len(words) % 2 else ()
    (place / "vars.json").write_bytes(text_of({name: value}))
    file = (f"--vars={place / 'vars.json'}",) if len(words) > 1 else ()
    call(verb[0], str(place / "spec.json"), *verb[1:], *param, *var, *file, *arguments)


@settings(max_examples=examples(6))
@given(value=mutated([SMALL], most=2))
def test_a_run_of_a_mutated_spec_ends_as_documented(place, value):
    """All that any mutation of this spec can do is copy text."""
    spec = place / "fuzzed.json"
    spec.write_bytes(text_of(value))
    look(spec, ("run", "--workspace", str(place / "made")))


@settings(max_examples=examples(4))
@given(content=(mutated(SPECS) | junk).map(text_of) | spoilt(text_of(FULL)), words=st.sampled_from(LOOKS))
def test_a_real_process_answers_alike(spec, content, words):
    spec.write_bytes(content)
    command = [sys.executable, "-m", "runner", words[0], str(spec), *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False)
    judge(words[0], words[1:], Answer(done.returncode, done.stdout.decode(), done.stderr.decode()))
    assert look(spec, words).code == done.returncode


def test_the_schema_needs_no_spec():
    assert call("schema").code == 0


@pytest.mark.parametrize("value", SPECS)
def test_specs_are_valid_before_they_are_mutated(spec, value):
    """Otherwise each mutation would be refused for a fault that all have."""
    spec.write_bytes(text_of(value))
    assert look(spec, ("validate",)).code == 0
