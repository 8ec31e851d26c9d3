"""The text for a failed stage."""

from __future__ import annotations

from runner.display.summary import failure_text, log_tail
from runner.errors import Fault
from runner.results import FAILED, AttemptResult, StageResult


def test_the_tail_is_the_last_20_lines(tmp_path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{n}\n" for n in range(100)))
    assert list(log_tail(str(log))) == [str(n) for n in range(80, 100)]


def test_the_tail_is_at_most_4_kib_of_whole_lines(tmp_path) -> None:
    log = tmp_path / "log"
    log.write_text("".join("x" * 999 + "\n" for _ in range(10)))
    assert list(log_tail(str(log))) == ["x" * 999] * 4
    log.write_text("y" * 100_000)
    assert list(log_tail(str(log))) == ["y" * 4096]


def test_a_log_cannot_play_with_the_terminal(tmp_path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x1b[2J\x1b]0;title\x07\r\nbad \xff\xfe byte\nprogress 1%\rprogress 2%\r\n")
    assert list(log_tail(str(log))) == [
        "\\x1b[2J\\x1b]0;title\\x07", "bad \\xff\\xfe byte", "progress 1%\\rprogress 2%",
    ]  # fmt: skip


def test_a_log_that_is_empty_or_gone_is_no_error(tmp_path) -> None:
    (tmp_path / "log").touch()
    assert list(log_tail(str(tmp_path / "log"))) == list(log_tail(str(tmp_path / "none"))) == []


def test_a_failed_stage_is_shown_with_its_log_and_the_command_for_more(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.1.log").write_text("no such table\n")
    attempt = AttemptResult(1, 3, None, timed_out=False, seconds=1, cpu_seconds=1, max_rss_bytes=1, delay=0, lines=None)
    result = StageResult("s", FAILED, attempts=[attempt], fault=Fault("stage s", "failed with exit 3", "look"))
    result = result._replace(log=str(tmp_path / "s.1.log"))
    assert failure_text(result, "offpipe log 'a b.json'") == (
        "error: stage s: failed with exit 3\nhint: look\nlog: s.1.log\n    no such table\n"
        "more: offpipe log 'a b.json' s"
    )


def test_a_stdout_that_was_kept_is_shown_below_the_log(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = StageResult("s", FAILED, attempts=[AttemptResult(1, 3)], log=str(tmp_path / "s.1.log"))
    assert failure_text(result, "offpipe log p") == "log: s.1.log (empty)"
    (tmp_path / "s.1.stdout").write_text("half\n")
    assert failure_text(result, "offpipe log p") == "stdout: s.1.stdout\n    half\nmore: offpipe log p s"
    (tmp_path / "s.1.log").write_text("no such table\n")
    assert failure_text(result, "offpipe log p") == (
        "log: s.1.log\n    no such table\nstdout: s.1.stdout\n    half\nmore: offpipe log p s"
    )
