"""Cost, changes, methods, logs and the graph of a report in a real browser, at three widths and on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from audit_bench import State
from browser import LACKING
from pipeline_bench import PipelineBench, shell
from report_workflow import lay_out

if TYPE_CHECKING:
    from pathlib import Path

    from browser import Browser

pytestmark = [pytest.mark.full, pytest.mark.skipif(bool(LACKING), reason=LACKING)]
WIDTHS = (380, 800, 1300)
A4 = 688  # px at 96 dpi, without its margins
WORD = "x" * 300


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """The reports of a workflow that failed after it had succeeded, and of a run with long remarks everywhere."""
    made = {}
    bench = PipelineBench(tmp_path_factory.mktemp("workflow"))
    lay_out(bench, "ACGT\n")
    bench.succeed("-j2", "--durability", "process")
    lay_out(bench, "ACGTA\n", "seq 30 | sed 's/^/a line of the log /'; exit 3")
    assert bench.run("-j2", "--durability", "process").returncode == 1
    bench.succeed("report", "--logs", "-o", str(bench.root / "workflow.html"))
    made["workflow"] = bench.root / "workflow.html"
    bench = PipelineBench(tmp_path_factory.mktemp("remarks"))
    bench.define(
        shell("a", f"echo {WORD * 3}; exit 3", description=WORD),
        shell("b" * 60, "echo >$PIPELINE_OUTPUT_OUT", description=WORD),
        vars={WORD[:50]: WORD},
        description=WORD,
    )
    assert bench.run("-k", "--run-id", "one").returncode == 1
    state = State(bench.root / "state", bench.root / "copy")
    state.rewrite("audit_one.jsonl", _remark)
    bench.spec = state.path
    assert bench.run("report", "--logs", "-o", str(bench.root / "remarks.html")).returncode == 6
    made["remarks"] = bench.root / "remarks.html"
    return made


def _remark(records: list[dict[str, object]]) -> None:
    """Put long words into the records of a run."""
    for record in records:
        data = record["data"]
        if record["ev"] == "attempt.finished":
            data.update(lost=WORD, node=f"{WORD}/one", exit=None)
        elif record["ev"] == "stage.finished":
            data.update(why=WORD)
        elif record["ev"] == "run.start":
            data["isolation"].update(cluster=f"tcp://{WORD}:1", workers=", ".join(f"{WORD}/{n} (kernel)" for n in "ab"))
        elif record["ev"] == "attempt.started":
            data["reasons"] = [["params", WORD, WORD, WORD]]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["workflow", "remarks"])
def test_at_every_width_only_tables_and_pictures_scroll_sideways(browser, pages, name, width) -> None:
    with browser.sized(width):
        assert browser.open(pages[name]) == [pages[name].as_uri()]
        inner, wide = browser.script("return [innerWidth, document.documentElement.scrollWidth]")
        assert inner == width and wide <= width
        cells = browser.script(
            "const most = Math.max(340, innerWidth - 40);"
            "return [...document.querySelectorAll('td, th, dd, li, figcaption')].filter(e => !e.closest('#files'))"
            ".filter(e => e.offsetWidth > most).map(e => [e.offsetWidth, e.textContent.slice(0, 60)])"
        )
    assert cells == [], "long remarks wrap"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["workflow", "remarks"])
def test_all_text_can_be_read_in_both_schemes_and_asks_for_no_script(browser, pages, name, scheme) -> None:
    browser.open(pages[name], scheme)
    assert browser.low_contrast() == [] and browser.driver.get_log("browser") == []
    assert browser.script("return document.scripts.length") == 0


def test_a_wide_screen_shows_the_tables_whole_and_outcomes_on_one_line(browser, pages) -> None:
    with browser.sized(1300):
        browser.open(pages["workflow"])
        assert len(browser.driver.find_elements("css selector", "#changes tbody tr")) == 29
        heights = browser.script("return [...document.querySelectorAll('#stages .badge')].map(e => e.offsetHeight)")
        assert max(heights) < 30
        cut = browser.script(
            "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
            ".map(e => e.getAttribute('aria-labelledby'))"
        )
    assert cut == []


def test_a_graph_of_29_templates_can_be_read_on_paper(browser, pages) -> None:
    browser.open(pages["workflow"])
    boxes = browser.script(
        "return [...document.querySelectorAll('.graph .box text:first-of-type')].map(e => e.textContent)"
    )
    assert len(boxes) == 29 and "align \N{MULTIPLICATION SIGN}6" in boxes
    drawn, scale = _scale_on_paper(browser)
    assert drawn and scale >= 0.6, "letters of 8 px or more"
    tops = browser.script(
        "return ['reference', 'publish'].map(n => [...document.querySelectorAll('.graph .box')]"
        ".find(e => e.textContent.includes(n)).getBoundingClientRect().top)"
    )
    assert tops[0] < tops[1], "top-down"


def _scale_on_paper(browser: Browser) -> tuple[bool, float]:
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    with browser.sized(A4):
        box, scale, high = browser.script(
            "const s = document.querySelector('.graph'), b = s.getBoundingClientRect();"
            "return [b.right <= innerWidth, s.getScreenCTM().a, b.height]"
        )
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    return box and high < 980, scale


def test_a_small_graph_has_a_box_for_each_instance(browser, tmp_path) -> None:
    bench = PipelineBench(tmp_path)
    copy = {"command": ["sh", "-c", "echo >$PIPELINE_OUTPUT_OUT"], "outputs": {"out": "w/{each.n}"}}
    bench.define({"name": "part", "each": {"n": ["a", "b", "c"]}, **copy})
    bench.succeed()
    bench.succeed("report", "-o", str(tmp_path / "small.html"))
    browser.open(tmp_path / "small.html")
    bench.close()
    texts = browser.script("return [...document.querySelectorAll('.graph text')].map(e => e.textContent)")
    assert texts == ["part@a", "succeeded", "part@b", "succeeded", "part@c", "succeeded"]


def test_logs_can_be_reached_by_keyboard(browser, pages) -> None:
    browser.open(pages["workflow"])
    assert "publish, attempt 1, exit 3" in browser.text(".log figcaption")
    assert browser.text(".log pre").splitlines()[0] == "a line of the log 11"
    assert browser.script("return [...document.querySelectorAll('.log pre')].every(e => e.tabIndex === 0)")
    first = browser.script("return document.querySelector('main > section').id")
    assert first == "failures", "the page of a run that failed begins with them"
