"""The ready-made stages, run as the runner runs them: programs with a stage file."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
from pathlib import Path

import pytest
from stage_bench import ROOT, StageBench

COPY, UPPER = ROOT / "stages" / "stage_copy.py", ROOT / "stages" / "stage_upper.py"
MIXED = "Straße ſıŉ ΐ ﬃ naïve\r\nΣᾳς 日本語\n\u2028x\x85y".encode() + b"\n\xff\xfe\xc3\n\xe2\x82"


def bench_for(tmp_path, contents, **options):
    return StageBench(tmp_path, {"in": contents}, ("out",), **options)


def finished(bench, program, **environment):
    ended = bench.run(program, **environment)
    assert ended.returncode == 0, ended.stderr
    return bench.output("out")


@pytest.mark.full_after(2)
@pytest.mark.parametrize("contents", [[b"a", b"", b"\r\nb\n", bytes(range(256)) * 900], [], [b""], [MIXED]])
def test_copy_gives_the_same_bytes(tmp_path, contents):
    assert finished(bench_for(tmp_path, contents, every_lines=2), COPY) == b"".join(contents)


def test_upper_is_the_upper_case_of_the_text_and_keeps_what_is_no_text(tmp_path):
    expected = MIXED.decode(errors="surrogateescape").upper().encode(errors="surrogateescape")
    assert finished(bench_for(tmp_path, [MIXED] * 3), UPPER) == expected * 3


@pytest.mark.full_after(1)
@pytest.mark.parametrize("plain", [40, 0, 2_000], ids=["mixed", "dense", "sparse"])
def test_upper_is_the_same_however_rare_the_letters_beyond_ascii_are(tmp_path, plain):
    content = (MIXED + b"plain text\n" * plain) * 100
    expected = content.decode(errors="surrogateescape").upper().encode(errors="surrogateescape")
    assert finished(bench_for(tmp_path, [content]), UPPER) == expected


def test_upper_case_looks_at_one_letter_at_a_time(tmp_path):
    every = "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    assert finished(bench_for(tmp_path, [every.encode()]), UPPER) == every.upper().encode()


def test_upper_in_bytes_mode_changes_a_to_z_only(tmp_path):
    assert finished(bench_for(tmp_path, [MIXED], params={"encoding": "bytes"}), UPPER) == MIXED.upper()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-7", "utf-8"])
def test_upper_in_any_encoding_loses_no_byte(tmp_path, encoding):
    content = bytes(range(256))
    result = finished(bench_for(tmp_path, [content], params={"encoding": encoding}), UPPER)
    assert result[:128] == content[:128].upper()
    assert result == b"".join(upper_or_same(letter, encoding) for letter in content.decode(encoding, "surrogateescape"))


def upper_or_same(letter, encoding):
    try:
        return letter.upper().encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return letter.encode(encoding, "surrogateescape")


def test_upper_keeps_a_letter_whose_upper_case_the_encoding_lacks(tmp_path):
    bench = bench_for(tmp_path, ["\xb5\xff\xe9\n".encode("latin-1")], params={"encoding": "latin-1"})
    assert finished(bench, UPPER) == "\xb5\xff\xc9\n".encode("latin-1")


@pytest.mark.parametrize("content", [b"", b"one\n", b"line\n" * 50_000])
def test_simulated_transient_fails_the_first_attempt_only_and_resumes(tmp_path, content):
    bench = bench_for(tmp_path, [content], params={"simulateTransient": True}, every_lines=1000)
    first = bench.run(UPPER)
    assert first.returncode == 75
    assert first.stderr == "error: simulateTransient asks the first attempt to fail\n"
    if content:
        assert bench.reached()["lineOffset"] > 0
    assert finished(bench, UPPER) == content.upper()


@pytest.mark.parametrize("program", [COPY, UPPER])
def test_unknown_params_are_refused(tmp_path, program):
    ended = bench_for(tmp_path, [b"x"], params={"encodng": "utf-8"}).run(program)
    assert ended.returncode == 2
    assert 'error: stage "stage", param "encodng": is not known\nhint: its params are: ' in ended.stderr


@pytest.mark.parametrize("params", [{"encoding": "utf-16"}, {"encoding": "utf-99"}, {"simulateTransient": 1}])
def test_impossible_params_are_refused(tmp_path, params):
    ended = bench_for(tmp_path, [b"x"], params=params).run(UPPER)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("program", [COPY, UPPER])
def test_two_outputs_are_refused(tmp_path, program):
    ended = StageBench(tmp_path, {"in": [b"x"]}, ("one", "two")).run(program)
    assert ended.returncode == 2
    assert "takes exactly one output\nhint: its outputs are: one, two" in ended.stderr


@pytest.mark.parametrize("program", [COPY, UPPER])
def test_killed_behind_each_checkpoint_it_ends_with_the_same_bytes(tmp_path, program):
    content = MIXED + b"\n" + b"".join(b"line %d \xc3\xa9\n" % n for n in range(2000))
    expected = finished(bench_for(make(tmp_path / "calm"), [content, MIXED], every_lines=300), program)
    bench = bench_for(make(tmp_path / "killed"), [content, MIXED], every_lines=300)
    # sitecustomize kills the process after it has replaced its progress file once.
    site = make(tmp_path / "site")
    (site / "sitecustomize.py").write_text(
        "import os, signal\nrename = os.rename\n"
        "def killing(source, target):\n    rename(source, target)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.rename = killing\n"
    )
    offsets = []
    while bench.run(program, PYTHONPATH=f"{site}{os.pathsep}{ROOT}").returncode == -signal.SIGKILL:
        offsets.append(bench.reached()["lineOffset"])
        if bench.reached().get("done"):
            break
    assert finished(bench, program) == expected
    *checkpoints, done = offsets
    assert checkpoints == sorted(set(checkpoints)) and done >= checkpoints[-1]
    assert len(offsets) >= 7


def test_a_very_long_line_comes_through(tmp_path):
    line = b"abc\xc3\xa9" * 600_000
    assert (
        finished(bench_for(tmp_path, [line + b"\n" + line], every_lines=1), UPPER)
        == (line.decode().upper() + "\n" + line.decode().upper()).encode()
    )


def test_standard_library_sources_come_through(tmp_path):
    folder = Path(sysconfig.get_path("stdlib"))
    contents = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    assert len(contents) > 50, sys.version
    assert finished(bench_for(make(tmp_path / "copy"), contents, every_lines=5000), COPY) == b"".join(contents)
    upper = finished(bench_for(make(tmp_path / "upper"), contents, params={"encoding": "bytes"}), UPPER)
    assert upper == b"".join(contents).upper()


def make(folder):
    folder.mkdir()
    return folder
