from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_bench import StageBench

from runner import sdk
from runner.errors import InputError, StateError, UsageError

# Upper case to "text", every third line to "third"; notes each line it works on; dies before line DIE_AT.
PROGRAM = """
import os, signal, sys
from runner import sdk

die_at = int(os.environ.get("DIE_AT", -1))
notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
with sdk.stage() as stage:
    how = stage.params
    options = {"encoding": how["encoding"], "errors": "surrogateescape"} if how.get("encoding") else {}
    job = getattr(stage, how["mode"])("text", to=("text", "third"), **options)
    newline = "\\n" if options else b"\\n"
    with job:
        for data in job:
            lines = data.split(newline)
            lines = [line + newline for line in lines[:-1]] + lines[-1:] * bool(lines[-1])
            for number, line in enumerate(lines, job.line_offset):
                if number == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(notes, b"%d\\n" % number)
                job.write(line.upper(), to="text")
                if number % 3 == 0:
                    job.write(line, to="third")
"""

CONTENTS = {
    "unix": [b"".join(b"line %d\n" % n for n in range(40))],
    "crlf": [b"".join(b"line %d\r\n" % n for n in range(40))],
    "bare-cr": [b"a\rb\r\nc\r\r\n" * 13 + b"d\r"],
    "no-last-newline": [b"x\n" * 39 + b"y"],
    "invalid-utf-8": [b"\xff\xfe caf\xe9 \xe2\x82\n\xc3\xa9t\xc3\xa9\n" * 20],
    "utf-8-line-breaks": ["a\u2028b\x0bc\x0cd\x85e\n".encode() * 40],
    "nothing": [b""],
    "no-files": [],
    "several-files": [b"a\n" * 7 + b"b", b"", b"\n\n\nc\n" * 7, b"", b"no end"],
    "long-lines": [b"l" * 1_500_000 + b"\n" + b"s\n" * 20 + b"m" * 1_200_000],
}
MODES = {
    "lines": {"mode": "lines"},
    "text-lines": {"mode": "lines", "encoding": "utf-8"},
    "blocks": {"mode": "blocks"},
    "text-blocks": {"mode": "blocks", "encoding": "utf-8"},
}


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def lines_of(contents):
    return [line + end for content in contents for line, end in _split(content)]


def _split(content):
    *whole, last = content.split(b"\n")
    return [(line, b"\n") for line in whole] + ([(last, b"")] if last else [])


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", CONTENTS)
def test_killed_at_any_place_it_ends_with_the_same_bytes(tmp_path, program, kind, mode):
    lines = lines_of(CONTENTS[kind])
    notes = tmp_path / "notes"
    bench = StageBench(tmp_path, {"text": CONTENTS[kind]}, ("text", "third"), MODES[mode], every_lines=7)
    deaths = [place for place in (0, 6, 7, 8, 23, 24, len(lines) - 1) if 0 <= place < len(lines)]
    for place in deaths:
        killed = bench.run(program, NOTES=str(notes), DIE_AT=str(place))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        reached = bench.reached()["lineOffset"] if bench.progress.exists() else 0
        assert place - 7 <= reached <= place  # a death repeats at most one interval
    ended = bench.run(program, NOTES=str(notes))
    assert ended.returncode == 0, ended.stderr
    if "encoding" in MODES[mode]:
        upper = [line.decode(errors="surrogateescape").upper().encode(errors="surrogateescape") for line in lines]
    else:
        upper = [line.upper() for line in lines]
    assert bench.output("text") == b"".join(upper)
    assert bench.output("third") == b"".join(lines[::3])
    worked = [int(line) for line in notes.read_text().split()] if lines else []
    assert set(worked) == set(range(len(lines)))
    assert len(worked) - len(lines) <= 7 * len(deaths)
    assert bench.reached()["lineOffset"] == len(lines)
    assert bench.reached()["byteOffset"] == sum(map(len, lines))


def test_a_kill_from_outside_in_mid_work_loses_no_line(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\nfrom runner import sdk\n"
        "with sdk.stage() as stage, stage.lines('text', to='text') as job:\n"
        "    for line in job:\n"
        "        if job.line_offset == 25 and stage.attempt == 1:\n"
        "            print('at 25', flush=True); sys.stdin.read()\n"
        "        job.write(b'> ' + line)\n"
    )
    bench = StageBench(tmp_path, {"text": [b"line\n" * 100]}, every_lines=10)
    bench.begin_attempt()
    running = subprocess.Popen(
        [sys.executable, program], env=bench.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with running:
        assert running.stdout.readline() == b"at 25\n"
        running.kill()
    assert bench.reached()["lineOffset"] == 20
    assert bench.run(program).returncode == 0
    assert bench.output() == b"> line\n" * 100


# ---- in this process: an interrupted body leaves what a kill leaves, except for unsaved bytes ---------------


class Killed(BaseException):
    pass


@given(
    contents=st.lists(
        st.lists(st.sampled_from([b"\n", b"ab\n", b"\r\n", b"tail", b"\xe9"]), max_size=12).map(b"".join), max_size=3
    ),
    every=st.integers(1, 6),
    deaths=st.lists(st.integers(0, 30), max_size=4),
    size=st.integers(1, 40),
    mode=st.sampled_from(["lines", "blocks"]),
)
def test_any_number_of_deaths_gives_the_same_bytes(tmp_path_factory, contents, every, deaths, size, mode):
    bench = StageBench(tmp_path_factory.mktemp("job"), {"text": contents}, every_lines=every)
    bench.stage_fields["durability"] = "process"
    for death in [*deaths, None]:
        try:
            with sdk.Stage(bench.begin_attempt()) as stage:
                job = stage.lines("text", "text") if mode == "lines" else stage.blocks("text", "text", size=size)
                with job:
                    job.write(b"head\n")
                    for data in job:
                        if death is not None and job.line_offset >= death:
                            raise Killed
                        job.write(data)
                    job.write(b"foot\n")
        except Killed:
            pass
    assert bench.output() == b"head\n" + b"".join(contents) + b"foot\n"


def run(bench, body):
    with sdk.Stage(bench.begin_attempt()) as stage:
        body(stage)


def interrupted(bench, body):
    with pytest.raises(Killed):
        run(bench, body)


@pytest.fixture
def bench(tmp_path):
    return StageBench(tmp_path, {"text": [b"%d\n" % n for n in range(10)], "b": [b"x\ny\n"]}, ("text", "b"), {}, 2)


def copy(stage, die_at=None, to="text"):
    with stage.lines("text", to=to) as job:
        for line in job:
            if job.line_offset == die_at:
                raise Killed
            job.write(line)
    return job


@pytest.mark.parametrize("damage", [b"", b"{", b'{"v": 9}', b"null"])
def test_damaged_progress_starts_from_nothing(bench, damage):
    interrupted(bench, lambda stage: copy(stage, 5))
    content = bench.begin_attempt()
    bench.progress.write_bytes(damage)
    with sdk.Stage(content) as stage:
        assert not copy(stage).resumed
    assert bench.output() == b"".join(b"%d\n" % n for n in range(10))


def test_a_checkpoint_that_nothing_resumed_from_is_removed(bench):
    interrupted(bench, lambda stage: copy(stage, 5))
    content = bench.begin_attempt()
    os.truncate(bench.partial("text"), 1)
    sdk.Stage(content)
    assert not bench.progress.exists()


def test_line_offset_counts_the_lines_before_the_current_one(bench):
    offsets = []

    def body(stage):
        with stage.lines("text", to="text") as job:
            offsets.append(job.line_offset)
            offsets.extend(job.line_offset for _ in job)
            offsets.append(job.line_offset)

    run(bench, body)
    assert offsets == [0, *range(10), 10]


def test_header_and_footer_are_written_once(bench):
    def body(stage, die_at=None):
        with stage.lines("text", to="text") as job:
            job.write(b"head\n")
            for line in job:
                if job.line_offset == die_at:
                    raise Killed
                job.write(line)
            if die_at is not None:
                job.write(b"foot of the dead\n")
                raise Killed
            job.write(b"foot\n")

    interrupted(bench, lambda stage: body(stage, 5))
    interrupted(bench, lambda stage: body(stage, 99))
    run(bench, body)
    assert bench.output() == b"head\n" + b"".join(b"%d\n" % n for n in range(10)) + b"foot\n"


def test_jobs_that_were_over_are_not_repeated(bench):
    work = []

    def body(stage, die_at=None):
        with stage.lines("text", to="text") as job:
            for line in job:
                work.append(line)
                job.write(line)
        with stage.lines("b", to=("text", "b")) as job:
            job.write(b"second\n", to="text")
            for line in job:
                if line == die_at:
                    raise Killed
                job.write(line, to="b")

    interrupted(bench, lambda stage: body(stage, b"x\n"))
    run(bench, body)
    assert len(work) == 10
    assert bench.output("text") == b"".join(b"%d\n" % n for n in range(10)) + b"second\n"
    assert bench.output("b") == b"x\ny\n"


def test_what_is_only_read_is_read_again(bench):
    counts = []

    def body(stage, die_at=None):
        with stage.lines("text") as job:
            counts.append(len(list(job)))
        copy(stage, die_at)

    interrupted(bench, lambda stage: body(stage, 5))
    run(bench, body)
    assert counts == [10, 10]
    assert bench.output() == b"".join(b"%d\n" % n for n in range(10))


def test_a_stage_may_carry_on_without_an_unreadable_input(bench):
    content = bench.begin_attempt()
    os.unlink(content["inputs"]["b"][0])
    with sdk.Stage(content) as stage:
        with pytest.raises(InputError, match="No such file"):
            stage.lines("b", to="b").__enter__()
        copy(stage)
    assert bench.output() == b"".join(b"%d\n" % n for n in range(10))


def test_a_loop_that_was_left_stays_left(bench):
    def body(stage, *, dies):
        with stage.lines("text", to="text") as job:
            for line in job:
                job.write(line)
                if line == b"4\n":
                    break
        if dies:
            raise Killed

    interrupted(bench, lambda stage: body(stage, dies=True))
    assert bench.reached()["lineOffset"] == 5
    run(bench, lambda stage: body(stage, dies=False))
    assert bench.output() == b"0\n1\n2\n3\n4\n"


def test_a_second_loop_goes_on_where_the_first_was_left(bench):
    def body(stage):
        with stage.lines("text", to="text") as job:
            job.write(next(iter(job)).strip() + b" is the header\n")
            for line in job:
                job.write(line)

    run(bench, body)
    assert bench.output().startswith(b"0 is the header\n1\n2\n")


def test_sys_exit_0_keeps_what_was_written(bench):
    def body(stage):
        with stage.lines("text", to="text") as job:
            job.write(next(iter(job)))
            sys.exit(0)

    with pytest.raises(SystemExit):
        run(bench, body)
    assert bench.output() == b"0\n"


def test_a_requested_checkpoint_counts_the_current_line(bench):
    def body(stage):
        with stage.lines("text", to="text") as job:
            for line in job:
                job.write(line)
                if line == b"2\n":
                    job.checkpoint()
                    raise Killed

    interrupted(bench, body)
    assert bench.reached()["lineOffset"] == 3
    run(bench, copy)
    assert bench.output() == b"".join(b"%d\n" % n for n in range(10))


@pytest.mark.parametrize("mode", ["lines", "blocks"])
def test_never_more_lines_than_the_interval_between_checkpoints(tmp_path, mode):
    content = b"".join(b"x" * (n * 7919 % 300) + b"\n" for n in range(3000))
    bench = StageBench(tmp_path, {"text": [content]}, every_lines=100)
    saved = [0]

    def body(stage):
        job = getattr(stage, mode)("text", to="text")
        with job:
            for data in job:
                reached = bench.reached()["lineOffset"] if bench.progress.exists() else 0
                if reached != saved[-1]:
                    saved.append(reached)
                assert job.line_offset + data.count(b"\n") - saved[-1] <= 100
                job.write(data)

    run(bench, body)
    assert 30 <= len(saved) <= 40  # hardly more checkpoints than the interval requires


def test_slow_work_is_saved_by_the_clock(tmp_path):
    bench = StageBench(tmp_path, {"text": [b"x\n" * 5]}, every_seconds=0.001)
    offsets = []

    def body(stage):
        with stage.lines("text", to="text") as job:
            for line in job:
                offsets.append(bench.reached()["lineOffset"] if bench.progress.exists() else 0)
                job.write(line)
                begun = time.monotonic()
                while time.monotonic() - begun < 0.002:
                    pass

    run(bench, body)
    assert offsets == [0, 1, 2, 3, 4]


def test_slow_blocks_become_smaller(tmp_path):
    bench = StageBench(tmp_path, {"text": [b"x\n" * 5000]}, every_seconds=0.004)
    sizes = []

    def body(stage):
        with stage.blocks("text", to="text", size=4000) as job:
            for block in job:
                sizes.append(len(block))
                job.write(block)
                begun = time.monotonic()
                while time.monotonic() - begun < 0.002 and len(sizes) < 3:
                    pass

    run(bench, body)
    assert sizes[0] == 4000
    assert sizes[2] <= 2000
    assert bench.output() == b"x\n" * 5000


def test_process_durability_syncs_nothing(bench, monkeypatch):
    bench.stage_fields["durability"] = "process"
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: pytest.fail("synced"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("synced"))
    run(bench, copy)
    assert bench.reached()["lineOffset"] == 10


def test_outputs_are_on_disk_before_the_progress_file_says_so(bench, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: order.append("sync"))
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda source, target: (order.append("progress"), rename(source, target)))
    run(bench, copy)
    assert order[:2] == ["sync", "progress"]
    assert order.count("progress") == 6  # every two lines, and at the end


def test_text_that_is_not_in_the_encoding_is_named_by_file_and_offset(tmp_path):
    bench = StageBench(tmp_path, {"text": [b"fine\n", b"ok\nna\xefve\n"]})
    for mode in ("lines", "blocks"):

        def body(stage, mode=mode):
            with getattr(stage, mode)("text", to="text", encoding="utf-8") as job:
                for data in job:
                    job.write(data)

        with pytest.raises(SystemExit) as ended:
            run(bench, body)
        assert ended.value.code == InputError.exit_code


def test_the_offset_of_bad_text_is_that_in_its_file(tmp_path):
    bench = StageBench(tmp_path, {"text": [b"fine\n", b"ok\nna\xefve\n"]})
    stage = sdk.Stage(bench.begin_attempt())
    with (
        pytest.raises(InputError, match=r"text\.1\.in: byte 0xef at offset 5 is not utf-8"),
        stage.lines("text", encoding="utf-8") as job,
    ):
        list(job)


def test_a_compressed_file_is_named_as_such_if_text_is_expected(tmp_path):
    bench = StageBench(tmp_path, {"text": [gzip.compress(b"a line\n")]})
    with pytest.raises(InputError) as ended, sdk.Stage(bench.begin_attempt()).lines("text", encoding="utf-8") as job:
        list(job)
    assert "0x8b at offset 1" in str(ended.value) and "with gzip" in ended.value.faults[0].hint


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp037"])
def test_encodings_without_a_plain_line_end_are_refused(bench, encoding):
    with pytest.raises(UsageError, match="line end as the one byte 0x0A"):
        sdk.Stage(bench.begin_attempt()).lines("text", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-99", "rot13"])
def test_unknown_encodings_are_refused(bench, encoding):
    with pytest.raises(UsageError, match="is not known to Python"):
        sdk.Stage(bench.begin_attempt()).lines("text", encoding=encoding)


def test_the_wrong_kind_of_data_is_refused_at_once(bench):
    stage = sdk.Stage(bench.begin_attempt())
    with stage.lines("text", to="text") as job, pytest.raises(TypeError, match="writes bytes"):
        job.write("text")
    with stage.lines("text", to="text", encoding="utf-8") as job, pytest.raises(TypeError, match="writes str"):
        job.write(b"bytes")


def test_a_buffer_may_change_after_it_was_written(bench):
    buffer = bytearray(b"one\n")
    with sdk.Stage(bench.begin_attempt()) as stage, stage.lines("text", to="text") as job:
        job.write(buffer)
        buffer[:] = b"two\n"
    assert bench.output() == b"one\n"


def test_several_outputs_want_a_name(bench):
    stage = sdk.Stage(bench.begin_attempt())
    with stage.lines("text", to=("text", "b")) as job, pytest.raises(UsageError, match="name one of: text, b"):
        job.write(b"x")


def test_a_write_without_an_output_says_where_to_name_it(bench):
    stage = sdk.Stage(bench.begin_attempt())
    with stage.lines("text") as job, pytest.raises(UsageError, match="has no output") as caught:
        job.write(b"x")
    assert caught.value.faults[0].hint == "name it as `to` where the job begins"


def test_one_job_at_a_time(bench):
    stage = sdk.Stage(bench.begin_attempt())
    with stage.lines("text", to="text"), pytest.raises(UsageError, match="a job is still open"):
        stage.lines("b", to="b").__enter__()


def test_a_stage_that_writes_past_its_job_gets_an_error(bench):
    def body(stage):
        with stage.lines("text", to="text") as job:
            for line in job:
                job.write(line)
                with open(stage.outputs["text"], "ab") as other:
                    other.write(b"foreign")

    with pytest.raises(SystemExit) as ended:
        run(bench, body)
    assert ended.value.code == StateError.exit_code


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_a_line_takes_two_calls_and_a_look_at_the_clock(tmp_path, encoding):
    """One call to get a line and one to write it: most stages loop over lines, and the calls take the time."""
    bench = StageBench(tmp_path, {"text": [b"caf\xc3\xa9\n" * 5000]})
    calls = []

    def body(stage):
        options = {"encoding": encoding} if encoding else {}
        with stage.lines("text", to="text", **options) as job:
            sys.setprofile(lambda frame, event, argument: calls.append(event))
            for line in job:
                job.write(line)
            sys.setprofile(None)

    run(bench, body)
    assert calls.count("call") < 2.2 * 5000
    assert calls.count("c_call") < 3.2 * 5000  # the clock, append and len


@pytest.mark.parametrize("end", [b"\n", b"\rb\n", b"\xe2\x80\xa8\n"])
def test_text_before_an_undecodable_line_is_given(tmp_path, end):
    bench = StageBench(tmp_path, {"text": [b"fine" + end + b"na\xefve\nrest\n"]})
    offsets = []
    stage = sdk.Stage(bench.begin_attempt())
    with pytest.raises(InputError, match="byte 0xef"), stage.lines("text", encoding="utf-8") as job:
        offsets.extend(job.line_offset for _ in job)
    assert offsets == [0]
    assert job.line_offset == 1


def test_an_encoded_line_end_ends_no_line(tmp_path):
    bench = StageBench(tmp_path, {"text": [b"a+AAo-b\nc\n"]})
    with sdk.Stage(bench.begin_attempt()) as stage, stage.lines("text", encoding="utf-7") as job:
        assert list(job) == ["a\nb\n", "c\n"]
