"""Reports in a real browser: what a reader sees in both colour schemes and on paper. A page requests nothing."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from audit_bench import State
from browser import LACKING
from pipeline_bench import PipelineBench, shell
from state_directories import KINDS, call, states

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.full, pytest.mark.skipif(bool(LACKING), reason=LACKING)]
COPY = "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT"
TIMES = "\N{MULTIPLICATION SIGN}"
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """The reports of a failed run, of the same run after it was resumed, and of one with many stages."""
    made = {}
    bench = PipelineBench(tmp_path_factory.mktemp("runs"))
    bench.write("in <script>document.title='changed'<b>.txt", "x\n")
    retry = {"attempts": 2, "delaySeconds": 0.3, "jitter": 0}
    first = shell("first", f'[ "$PIPELINE_ATTEMPT" -gt 1 ] || exit 75; {COPY}', inputs={"x": "in*.txt"}, retry=retry)
    first["command"][-1] = first["command"][-1].replace("$PIPELINE_INPUT_X", '"$PIPELINE_INPUT_X"')
    many = {
        "name": "part", "each": {"n": [f"{n:02}" for n in range(60)]}, "command": ["cp", "{inputs.x}", "{outputs.out}"],
        "inputs": {"x": "out/first.txt"}, "outputs": {"out": "parts/{each.n}"},
    }  # fmt: skip
    bench.define(first, shell("second", "exit 3", inputs={"x": "out/first.txt"}), many)
    assert bench.run("-k").returncode == 1
    made["failed"] = _report(bench, "failed")
    bench.define(first, shell("second", COPY, inputs={"x": "out/first.txt"}), many)
    bench.succeed()
    made["resumed"] = _report(bench, "resumed")
    copies = [
        {"name": f"s{n:03}", "command": ["cp", "{inputs.x}", "{outputs.out}"], "inputs": {"x": "out/first.txt"},
         "outputs": {"out": f"w/{n}"}} for n in range(100)
    ]  # fmt: skip
    bench.define(first, *copies)
    bench.succeed("--durability", "process")
    made["large"] = _report(bench, "large")
    bench.close()
    return made


def _report(bench: PipelineBench, name: str) -> Path:
    bench.succeed("report", "-o", str(bench.root / f"{name}.html"))
    return bench.root / f"{name}.html"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["failed", "large", "resumed"])
def test_a_page_asks_for_nothing_and_can_be_read_in_both_schemes(browser, pages, name, scheme) -> None:
    assert browser.open(pages[name], scheme) == [pages[name].as_uri()]
    assert browser.driver.get_log("browser") == []
    assert browser.driver.title.startswith("bench: "), "no script ran"
    dark = browser.script("return getComputedStyle(document.documentElement).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    browser.unfold()
    assert browser.low_contrast() == []
    width, wide = browser.script("return [innerWidth, document.documentElement.scrollWidth]")
    assert wide <= width, "only tables and pictures scroll sideways"
    cut = "e.getBoundingClientRect().right > e.ownerSVGElement.getBoundingClientRect().right + 1"
    texts = f"[...document.querySelectorAll('svg text')].filter(e => {cut}).map(e => e.textContent)"
    assert browser.script(f"return {texts}") == [], "no text ends outside of its picture"


def test_a_reader_sees_what_failed_and_what_waited(browser, pages) -> None:
    browser.open(pages["failed"])
    assert browser.text("header").startswith("Report of a run\nbench\nfailed\n")
    assert "second failed failed with exit 3" in browser.text("#failures tbody")
    assert f"part {TIMES}60" in browser.text(".graph") and "60 succeeded" in browser.text(".graph")
    shown = "return [...document.querySelectorAll(arguments[0])].filter(e => e.getBBox().width > 1).length"
    assert browser.script(shown, ".timeline .wait") == 1 and browser.script(shown, ".timeline .cross") == 2
    browser.unfold()
    assert "in <script>document.title='changed'<b>.txt" in browser.text("#files")
    assert browser.script("return document.scripts.length") == 0


def test_a_reader_sees_both_parts_of_a_resumed_run(browser, pages) -> None:
    browser.open(pages["resumed"])
    assert "succeeded" in browser.text(".lead") and "2: it was resumed" in browser.text("#run")
    assert browser.script("return document.querySelector('.timeline .break').getBBox().width") > 1
    assert browser.script("return document.querySelectorAll('.history .this').length") == 2


def test_a_large_page_draws_names_that_differ_in_numbers_as_one(browser, pages) -> None:
    browser.open(pages["large"])
    assert f"s# {TIMES}100" in browser.text(".graph") and "share a box" in browser.text("#graph")
    assert len(browser.driver.find_elements("css selector", "#stages tbody tr")) == 101
    assert browser.script("return document.querySelector('.timeline .area').getBBox().height") > 5


@pytest.mark.parametrize("width", [380, 800, 1300])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_index_asks_for_nothing_and_can_be_read_at_every_width(browser, tmp_path, scheme, width) -> None:
    call("report", *states(*KINDS), words=("-o", str(tmp_path)), code=6)
    page = tmp_path / "index.html"
    assert browser.open(page, scheme) == [page.as_uri()] and browser.driver.get_log("browser") == []
    with browser.sized(width):
        assert browser.low_contrast() == []
        wide = "e.scrollWidth > e.clientWidth"
        assert browser.script(f"return [...document.querySelectorAll('html, .scroll')].filter(e => {wide})") == []


def test_on_a_phone_digests_wrap_and_names_do_not(browser, pages) -> None:
    browser.open(pages["failed"])
    lines = "return [...document.querySelectorAll(arguments[0])].map(e => Math.round(e.offsetHeight / 17))"
    with browser.sized(380):
        browser.unfold()
        digests, names = (browser.script(lines, f"#files td code{kind}") for kind in (".digest", ":not(.digest)"))
        width, wide = browser.script("return [innerWidth, document.documentElement.scrollWidth]")
    assert min(digests) >= 3 and max(names) <= 1 and wide <= width, (digests, names, width, wide)


def test_on_a_phone_a_long_remark_of_a_worker_wraps(browser, tmp_path) -> None:
    bench = PipelineBench(tmp_path)
    bench.define(shell("a", "echo > $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "one")
    state = State(bench.root / "state", bench.root / "copy")
    state.rewrite("audit_one.jsonl", _lose)
    bench.spec = state.path
    assert bench.run("report", "-o", str(tmp_path / "lost.html")).returncode == 6, "the ledger has another hash"
    browser.open(tmp_path / "lost.html")
    with browser.sized(380):
        widths = browser.script("return [...document.querySelectorAll('#stages td')].map(e => e.offsetWidth)")
    bench.close()
    assert "lost: " in browser.text("#stages tbody") and max(widths) < 300, widths


def _lose(records: list[dict[str, object]]) -> None:
    (ended,) = (record["data"] for record in records if record["ev"] == "attempt.finished")
    path = f"/shared/{'directory/' * 12}state/tmp/cluster-0123456789abcdef/7"
    ended.update(lost=f"{path}: cannot open: ENOSPC (No space left on device)", exit=None)


@pytest.mark.parametrize("name", ["failed", "large"])
def test_it_prints_on_a4_in_light_colours(browser, pages, name) -> None:
    browser.open(pages[name], "dark")
    boxes = {tuple(map(float, box)) for box in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", browser.printed())}
    assert {(round(width), round(height)) for width, height in boxes} == {(595, 842)}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.script("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.low_contrast() == [] and not browser.driver.find_element("css selector", "nav").is_displayed()
    cells = browser.script(
        "return [...document.querySelectorAll('#history td')].filter(e => e.getClientRects().length)"
    )
    assert cells, "the history is not behind a click"
    browser.driver.set_window_size(700, 900)  # about the width of A4 at 96 dpi, without its margins
    cut = (
        "return [...document.querySelectorAll('svg, table')].filter(e => e.getBoundingClientRect().right > innerWidth)"
    )
    assert browser.script(f"{cut}.map(e => e.outerHTML.slice(0, 60))") == []
    browser.driver.set_window_size(1120, 900)


def test_it_can_be_used_by_keyboard_and_read_aloud(browser, pages) -> None:
    browser.open(pages["failed"])
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    pictures = [name for role, name in named if role in {"image", "img"}]
    titles = ["Graph of the stages", "Attempts over time", "Outcome and duration of the last invocations"]
    assert pictures == titles
    levels = browser.script("return [...document.querySelectorAll('h1, h2, h3')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert browser.script("return [...document.querySelectorAll('th')].every(e => e.scope)")
    assert browser.script("return [...document.querySelectorAll('a')].every(e => document.querySelector(e.hash))")
    unreachable = (
        "[...document.querySelectorAll('.scroll')].filter(e => e.tabIndex || !e.getAttribute('aria-labelledby'))"
    )
    assert browser.script(f"return {unreachable}.length") == 0
