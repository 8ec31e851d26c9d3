"""`report --logs` adds the last lines of the logs of failed attempts. A log is hostile input."""

from __future__ import annotations

import os
import signal

from pipeline_bench import shell, wait_for
from report_page import ReportPage


def logs(bench, *words: str) -> dict[str, str]:
    """The text of each log on the page, by its caption."""
    page = ReportPage(bench.succeed("report", "--logs", "-o", "-", *words).stdout)
    assert list(page.references()) == []
    figures = page.root.findall(".//figure[@class='log']")
    return {" ".join("".join(each[0].itertext()).split()): "".join(each[1].itertext()) for each in figures}


def test_the_last_twenty_lines_of_every_failed_attempt_are_shown(bench) -> None:
    retry = {"attempts": 2, "delaySeconds": 0.01, "jitter": 0}
    flaky = 'seq 30; [ "$PIPELINE_ATTEMPT" -gt 1 ] || exit 75; echo >$PIPELINE_OUTPUT_OUT'
    into = {**shell("printed", "echo an answer; echo a fault >&2; exit 3"), "stdout": "out"}
    bench.define(
        shell("flaky", flaky, retry=retry),
        into,
        shell("silent", "exit 4"),
        shell("good", "echo ok; echo >$PIPELINE_OUTPUT_OUT"),
    )
    assert bench.run("-k", "--run-id", "r").returncode == 1
    assert logs(bench) == {
        "flaky, attempt 1, exit 75: logs/r/flaky.1.log": "".join(f"{n}\n" for n in range(11, 31)),
        "printed, attempt 1, exit 3: logs/r/printed.1.log": "a fault\n",
        "printed, attempt 1, exit 3: logs/r/printed.1.stdout": "an answer\n",
        "silent, attempt 1, exit 4: logs/r/silent.1.log": "It is empty.",
    }  # fmt: skip
    without = bench.succeed("report", "-o", "-").stdout
    assert "a fault" not in without and "an answer" not in without


def test_a_retry_shows_its_log_though_the_run_succeeded(bench) -> None:
    retry = {"attempts": 2, "delaySeconds": 0.01, "jitter": 0}
    bench.define(
        shell("a", '[ "$PIPELINE_ATTEMPT" -gt 1 ] || { echo once; exit 75; }; echo >$PIPELINE_OUTPUT_OUT', retry=retry)
    )
    bench.succeed("--run-id", "r")
    assert logs(bench) == {"a, attempt 1, exit 75: logs/r/a.1.log": "once\n"}


def test_a_log_cannot_change_the_page_or_make_it_large(bench) -> None:
    bench.write(
        "noise", b"\x00\xff<script>alert(1)</script>\x1b[31m\n" + b"x" * 3_000_000 + b"\n10 %\r50 %\r100 %\r\n\n"
    )
    bench.define(shell("a", "cat noise; exit 3", inputs={"x": "noise"}))
    assert bench.run("--run-id", "r").returncode == 1
    (text,) = logs(bench).values()
    lines = text.split("\n")
    assert len(lines[0]) == 501 and lines[1:] == ["100 %", "", ""], "the page has no line of megabytes"
    bench.write("noise", b"\x00\xff<script>alert(1)</script>\x1b[31m\n")
    assert bench.run("--run-id", "r2").returncode == 1
    (text,) = logs(bench, "--run", "r2").values()
    assert text == "\\x00\\xff<script>alert(1)</script>\\x1b[31m\n"


def test_what_is_not_a_log_is_not_read(bench) -> None:
    for stage in ("gone", "link", "fifo"):
        bench.write(f"{stage}.txt", "secret\n")
    bench.define(*(shell(stage, "exit 3") for stage in ("gone", "link", "fifo")))
    assert bench.run("-k", "--run-id", "r").returncode == 1
    for stage in ("gone", "link", "fifo"):
        (bench.root / f"state/logs/r/{stage}.1.log").unlink()
    (bench.root / "state/logs/r/link.1.log").symlink_to(bench.root / "link.txt")
    os.mkfifo(bench.root / "state/logs/r/fifo.1.log")
    assert [*logs(bench).values()] == ["It is not there.", "It cannot be read.", "It cannot be read."]


def test_the_pages_of_many_pipelines_have_logs_too(bench) -> None:
    bench.define(shell("a", "echo a fault; exit 3"))
    assert bench.run("--run-id", "r").returncode == 1
    bench.succeed("report", "--logs", "-o", f"{bench.root}/pages/")
    (page,) = (bench.root / "pages").glob("bench-*.html")
    assert "a fault" in page.read_text()


def test_a_killed_attempt_shows_how_far_it_got_and_one_at_work_does_not(bench) -> None:
    bench.define(shell("a", "echo so far; touch begun; until test -e go; do sleep 0.01; done"))
    run = bench.start("--run-id", "r")
    wait_for((bench.root / "begun").exists)
    assert logs(bench) == {}
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert logs(bench) == {"a, attempt 1, no end on record: logs/r/a.1.log": "so far\n"}
