"""Fixtures and markers refuse wrong arguments with one error that says where, what, and what is possible."""

from __future__ import annotations

import pytest
from fixture_project import make_project
from spec_project import LEFT_OUT

pytestmark = pytest.mark.full


ASKED = r"""
    from pathlib import Path
    import pytest
    from runner.errors import UsageError

    SPEC = "specs/small.json"

    @pytest.mark.parametrize("inputs, message", [
        ({"data/im.txt": b""}, 'no input of specs/small.json is taken from "data/im.txt"\nhint: did you mean "data/in'),
        ({"text": b""}, 'name inputs of a pipeline by their paths: "data/in.txt"'),
        ({"work/clean.txt": b""}, "stage clean makes it"),
        ({"data/parts/.hidden.csv": b""}, 'is taken from "data/parts/.hidden.csv"'),
        ({"data/parts/a.txt": b"", "data/x": b""}, 'from "data/x"'),
        ("specs", "specs: it holds no input of specs/small.json\nhint: lay it out as below the spec's root: dat"),
        ("nix", "nix: no such file"),
        (3, "inputs: is 3, of type int\nhint: expected: a directory, or {path: content}"),
        ({"data/in.txt": 3}, "is 3, of type int\nhint: expected: bytes, text, or the Path of a file"),
        ({3: b""}, "is 3, of type int"),
    ])
    def test_inputs_of_a_run(offpipe, inputs, message):
        with pytest.raises(UsageError) as refused:
            offpipe.run(SPEC, inputs=inputs)
        assert message in str(refused.value)

    def test_inputs_that_were_refused_are_not_taken_later(offpipe):
        with pytest.raises(UsageError):
            offpipe.run(SPEC, inputs={"data/in.txt": "Other\n", "data/nix.txt": b""})
        assert len(offpipe.run(SPEC).stages["clean"].outputs["text"].lines) == 100

    def test_inputs_of_a_whole_directory_are_taken(offpipe):
        assert offpipe.run(SPEC, inputs={"data/tree/deep/er.txt": b"x"}).exit_code == 0

    @pytest.mark.parametrize("asked, message", [
        ({"jobs": 0}, "jobs: is 0"), ({"jobs": True}, "jobs: is True"), ({"jobs": "2"}, "jobs: is '2', of type str"),
        ({"params": 3}, "params: is 3"), ({"params": {"clean": 3}}, "params of clean: is 3"),
        ({"stages": 3}, "stages: is 3"), ({"stages": [3]}, 'no stage named "3"'),
        ({"run_id": "a b"}, "run_id: is 'a b'"), ({"plugins": 3}, "plugins: is 3"),
    ])
    def test_options_of_a_run(offpipe, asked, message):
        with pytest.raises(UsageError) as refused:
            offpipe.run(SPEC, **asked)
        assert message in str(refused.value) and "\nhint: " in str(refused.value)

    @pytest.mark.parametrize("asked, message", [
        ({"inputs": ["a"]}, "inputs: is ['a'], of type list"), ({"inputs": {"text": 3}}, "is 3, of type int"),
        ({"inputs": {"text": None}}, "is None"), ({"params": 3}, "params: is 3"),
        ({"after": 3}, "is not a report of a stage"), ({"name": 3}, "name: is 3"), ({"spec": 3}, "spec: is 3"),
        ({"spec": "specs/smal.json"}, 'did you mean "small.json"?'),
    ])
    def test_a_stage_alone(offpipe, asked, message):
        with pytest.raises(UsageError) as refused:
            offpipe.stage(**{"spec": SPEC, "name": "clean", **asked})
        assert message in str(refused.value)

    def test_words_of_the_program(offpipe):
        with pytest.raises(UsageError, match="cli: is 3"):
            offpipe.cli("plan", 3)

    def test_names_in_reports(offpipe):
        report = offpipe.run(SPEC)
        with pytest.raises(KeyError) as stage:
            report.stages["claen"]
        assert str(stage.value) == 'no stage named "claen" in this report\nhint: did you mean "clean"?'
        with pytest.raises(KeyError) as output:
            report.stages["clean"].outputs["texts"]
        assert str(output.value) == 'no output named "texts" in this report\nhint: did you mean "text"?'
        assert report.stages.get("claen") is None and "texts" not in report.stages["clean"].outputs
        none = offpipe.run({"specVersion": 1, "name": "x", "stages": []})
        with pytest.raises(KeyError) as stage:
            none.stages["clean"]
        assert str(stage.value).startswith('no stage named "clean" in this report\nerror: ')

    def test_ends_at_the_line_of_the_test(offpipe):
        offpipe.stage(SPEC, "claen")
"""


def test_what_the_fixture_cannot_do_is_one_plain_error(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_asked=ASKED)
    result = pytester.runpytest_subprocess("-W", "error", *LEFT_OUT, "-n2", "--tb=short")
    result.assert_outcomes(passed=31, failed=1)
    lines = [line for line in result.outlines if line.startswith(("test_asked.py:", "E  "))]
    assert lines[1:] == [
        'E   runner.errors.UsageError: error: specs/small.json: no stage named "claen"',
        'E   hint: did you mean "clean"?',
    ]


MARKED = r"""
    import pytest

    SPEC = "specs/small.json"
    pytestmark = pytest.mark.offpipe_spec(SPEC)  # which not every test has to heed

    def test_uses_a_fixture(offpipe): ...

    @pytest.mark.offpipe_fault("kil", "clean", after_bytes=1)
    def test_kind(offpipe): ...

    @pytest.mark.offpipe_fault("kill", "clean", after_byte=1)
    def test_argument(offpipe): ...

    @pytest.mark.offpipe_fault("exit_code", "clean")
    def test_missing(offpipe): ...

    @pytest.mark.offpipe_fault()
    def test_nothing(offpipe): ...

    @pytest.mark.offpipe_fault("exit_code", 3, 4)
    def test_stage(offpipe): ...

    @pytest.mark.offpipe_spec(SPEC, parms={})
    def test_argument_of_spec(offpipe_spec): ...

    @pytest.mark.offpipe_spec(SPEC, params=3)
    def test_params_of_spec(offpipe_spec): ...

    @pytest.mark.offpipe_spec(SPEC, inputs="specs")
    def test_inputs_of_spec(offpipe_spec): ...

    @pytest.mark.offpipe_spec()
    def test_no_spec(offpipe_spec): ...

    @pytest.mark.offpipe_fault("exit_code", "clean", 3)
    def test_fault_without_effect(): ...

    @pytest.mark.offpipe_spec(SPEC)
    def test_spec_without_effect(offpipe): ...

    @pytest.mark.offpipe_fault("exit_code", "clean", 3)
    def test_fixture_that_is_asked_for_later(request):
        assert request.getfixturevalue("offpipe").stage(SPEC, "clean").exit_code == 3
"""


def test_markers_that_say_nothing_or_have_no_effect_are_errors(pytester: pytest.Pytester, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CI", raising=False)  # if it is set, pytest's summary repeats all of it
    make_project(pytester.path)
    pytester.makepyfile(test_marked=MARKED)
    result = pytester.runpytest_subprocess("-W", "error", *LEFT_OUT, "--strict-markers")
    result.assert_outcomes(passed=2, failed=2, errors=9)
    result.stdout.fnmatch_lines(
        [
            'error: offpipe_fault: no kind "kil"',
            'hint: did you mean "kill"[?]',
            'error: offpipe_fault kill: takes no "after_byte"',
            'hint: did you mean "after_bytes"[?]',
            "error: offpipe_fault exit_code: missing a required argument: 'code'",
            "hint: it takes (stage, code, times=1, when='before')",
            'error: offpipe_fault: no kind ""',
            "error: exit_code: is 3, of type int",
            'error: offpipe_spec: takes no "parms"',
            "error: params: is 3, of type int",
            "error: offpipe_spec inputs: *specs: it holds no input of *small.json",
            "error: offpipe_spec: missing a required argument: 'path'",
            "error: offpipe_fault: nothing in this test uses the marker",
            "hint: request the fixture offpipe_faults or offpipe, or leave the marker out",
            "error: offpipe_spec: nothing in this test uses the marker",
            "hint: request the fixture offpipe_spec or offpipe_run, or leave the marker out",
        ]
    )
    result.stdout.no_fnmatch_line("*During handling*")
    assert sum("hint: did you mean" in line for line in result.outlines) == 3
