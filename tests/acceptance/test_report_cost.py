"""The report says what a run cost. Each figure is computed a second time here, from metrics and files."""

from __future__ import annotations

import signal
from functools import cache

import pytest
from pipeline_bench import PipelineBench, lasting_directory, shell, wait_for
from report_page import ReportPage

from runner.display.text import seconds, size

MIB = 1 << 20
COLUMNS = ["attempts", "time", "cpu", "largest", "inputs", "outputs"]


def report(bench: PipelineBench, *words: str) -> ReportPage:
    page = ReportPage(bench.succeed("report", "-o", "-", *words).stdout)
    assert list(page.references()) == []
    return page


def cost(page: ReportPage, name: str) -> dict[str, str]:
    return dict(zip(COLUMNS, page.row("cost", name)[1:], strict=True))


@cache
def spent():
    """A run with a retry, instances, two roots, and memory that a stage asks for and uses."""
    bench = PipelineBench(lasting_directory("spent-"))
    bench.write("in/a", "a" * 1000)
    bench.write("in/b", "b" * 3000)
    bench.write("in/genome", "g" * 500)
    retry = {"attempts": 2, "delaySeconds": 0.3, "jitter": 0}
    flaky = 'b="$(head -c 60000000 /dev/zero | tr "\\0" x)"; [ "$PIPELINE_ATTEMPT" -gt 1 ] || exit 75; cat $0 >$1'
    trim = {
        "name": "trim", "each": {"s": ["a", "b"]}, "command": ["sh", "-c", flaky, "{inputs.x}", "{outputs.out}"],
        "inputs": {"x": "in/{each.s}"}, "outputs": {"out": "w/{each.s}"}, "retry": retry,
        "resources": {"memoryMiB": [100, 200]},
    }  # fmt: skip
    join = shell(
        "join", "sleep 0.2; cat w/* out/index.txt >$PIPELINE_OUTPUT_OUT", inputs={"x": ["w/*"], "i": "out/index.txt"}
    )
    index = shell("index", "sleep 0.1; cp in/genome $PIPELINE_OUTPUT_OUT", inputs={"x": "in/genome"})
    last = shell("last", "cp out/join.txt $PIPELINE_OUTPUT_OUT", inputs={"x": "out/join.txt"})
    bench.define(index, trim, join, last)  # the shortest first
    bench.succeed("-j2")
    return bench


def test_time_memory_and_bytes_are_those_of_metrics_and_files() -> None:
    bench = spent()
    page, stages = report(bench), bench.metrics()["stages"]
    sizes = {
        path: (bench.root / path).stat().st_size
        for path in ("in/a", "in/b", "w/a", "w/b", "out/index.txt", "out/join.txt")
    }
    made = sizes["w/a"] + sizes["w/b"]
    known = {
        "trim (2 instances)": (("trim@a", "trim@b"), sizes["in/a"] + sizes["in/b"], made),
        "index": (("index",), 500, 500),
        "join": (("join",), made + 500, sizes["out/join.txt"]),
    }
    for name, (members, inputs, outputs) in known.items():
        attempts = [attempt for member in members for attempt in stages[member]["attempts"]]
        largest = -(-max(attempt["maxRssBytes"] for attempt in attempts) // MIB)
        assert cost(page, name) == {
            "attempts": str(len(attempts)),
            "time": seconds(sum(attempt["seconds"] for attempt in attempts)),
            "cpu": seconds(sum(attempt["cpuSeconds"] for attempt in attempts)),
            "largest": f"{largest} MiB of {cost(page, name)['largest'].rpartition(' ')[2]}"
            if members[1:]
            else f"{largest} MiB",
            "inputs": size(inputs),
            "outputs": size(outputs),
        }
    assert cost(page, "trim (2 instances)")["largest"].rpartition(" ")[2] in {"100", "200"}, "as the attempt asked"
    assert cost(page, "All stages")["attempts"] == str(sum(len(stage["attempts"]) for stage in stages.values()))


def test_the_critical_path_is_the_longest_of_all_chains_of_attempts_and_waits() -> None:
    bench = spent()
    stages = bench.metrics()["stages"]
    own = {
        name: sum(each["seconds"] + each["delaySeconds"] for each in stage["attempts"])
        for name, stage in stages.items()
    }
    chains = [[first, "join", "last"] for first in ("trim@a", "trim@b", "index")]
    longest = max(chains, key=lambda chain: sum(own[name] for name in chain))
    took = sum(own[name] for name in longest)
    text = report(bench).text("cost")
    assert f"took {seconds(took)} : {', '.join(f'{name} {seconds(own[name])}' for name in longest)}." in text
    (past,) = bench.json("runs")["runs"]
    assert f"The run took {seconds(past['seconds'] - took)} more, because of -j" in text
    assert "0.3" in {str(each["delaySeconds"]) for each in stages["trim@a"]["attempts"]}, "a wait was on the path"


def test_a_run_with_nothing_to_do_shows_the_attempts_that_made_its_outputs(bench) -> None:
    bench.write("in.txt", "x\n")
    both = [shell(name, "cp in.txt $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}) for name in "ab"]
    bench.define(*both)
    bench.succeed("--run-id", "one")
    bench.succeed("-f", "b", "--run-id", "two")
    bench.succeed("--run-id", "none")
    page = report(bench)
    assert [row[0] for row in page.rows("cost")[1:3]] == ["a in the run one", "b in the run two"]
    assert cost(page, "a in the run one")["cpu"] == cost(report(bench, "--run", "one"), "a")["cpu"]
    assert "Critical path" not in page.text("cost")


def test_a_killed_run_shows_what_is_known(bench) -> None:
    bench.define(
        shell("a", "echo >$PIPELINE_OUTPUT_OUT"),
        shell("b", "touch begun; until test -e go; do sleep 0.01; done", inputs={"x": "out/a.txt"}),
    )
    run = bench.start()
    wait_for((bench.root / "begun").exists)
    run.send_signal(signal.SIGKILL)
    run.wait()
    page = report(bench)
    assert cost(page, "b")["time"].startswith("at least ") and cost(page, "b")["largest"] == ""
    assert cost(page, "a")["outputs"] == "1 byte" and cost(page, "a")["inputs"] == "", "without metrics"


@pytest.mark.full_after(2)
@pytest.mark.parametrize("content", ["[]", "{", '{"stages": [1]}', '{"stages": {"a": {"inputBytes": "x"}}}'])
def test_metrics_that_were_changed_do_not_spoil_the_page(bench, content) -> None:
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "r")
    bench.write("state/metrics_r.json", content)
    done = bench.run("report", "-o", "-")
    page = ReportPage(done.stdout)
    assert done.returncode == 6 and cost(page, "a")["inputs"] == "" and "metrics_r.json" in page.text("record")
