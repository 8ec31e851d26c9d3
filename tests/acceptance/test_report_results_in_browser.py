"""Results in a real browser: hostile outputs run nothing and request nothing, and the page opens fast."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING

import pytest
from browser import LACKING
from hostile_results import SCRIPT, bombs, hostile, plain, png
from pipeline_bench import PipelineBench, shell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from browser import Browser

pytestmark = [pytest.mark.full, pytest.mark.skipif(bool(LACKING), reason=LACKING)]
SIZE = 25_000_000  # bytes of a page


@pytest.fixture(scope="module")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def page_of(directory: Path, files: Mapping[str, bytes]) -> Path:
    """The report of a run whose results are these files."""
    bench = PipelineBench(directory)
    for name, content in files.items():
        bench.write(f"in/{name}", content)
    stage = shell("copy", "", inputs={"x": "in/"}, outputs={"out": "out/"})
    stage["command"] = ["sh", "-c", 'cp -r "$0" "$1"', "{inputs.x}", "{outputs.out}"]
    bench.define({**stage, "results": {"out": {"files": "*", "title": SCRIPT, "caption": SCRIPT, "group": SCRIPT}}})
    bench.succeed()
    page = directory / "page.html"
    bench.succeed("report", "-o", str(page))
    bench.close()
    return page


def connections(listener: socket.socket) -> int:
    """The number of connections that nobody has accepted yet."""
    count = 0
    while select.select([listener], [], [], 0)[0]:
        listener.accept()[0].close()
        count += 1
    return count


def opens(browser: Browser, page: Path) -> float:
    """Open a page, lay it out whole and paint what is seen first. Return the seconds. It must request only itself."""
    began = time.monotonic()
    requested = browser.open(page)
    assert browser.script("return document.body.getBoundingClientRect().height") > 0
    browser.driver.get_screenshot_as_png()
    took = time.monotonic() - began
    assert [url[:60] for url in requested[1:] if not url.startswith("data:image/")] == []
    return took


def test_a_page_of_hostile_results_runs_nothing_and_requests_nothing(browser, listener, tmp_path) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    page = page_of(tmp_path, hostile(url))
    opens(browser, page)
    for figure in browser.driver.find_elements("css selector", ".result"):
        browser.script("arguments[0].scrollIntoView()", figure)  # a drawing is painted when it is seen
    browser.script("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.driver.title == "bench: succeeded" and browser.script("return document.scripts.length") == 0
    assert browser.script("return document.querySelectorAll('iframe, object, embed, link, form').length") == 0
    assert browser.script("return [...document.links].every(e => e.getAttribute('href').startsWith('#'))")
    assert connections(listener) == 0
    assert browser.driver.get_log("browser") == [], "the policy had nothing to forbid"


def test_the_policy_forbids_what_a_mistake_in_the_page_would_let_in(browser, listener, tmp_path) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    page = page_of(tmp_path, plain())
    added = f'<img src="{url}/i"><script>document.title = "ran"</script><iframe srcdoc="&lt;img src={url}/f>"></iframe>'
    page.write_text(page.read_text().replace("<main>", f"<main>{added}"))
    browser.open(page)
    assert browser.driver.title == "bench: succeeded" and connections(listener) == 0
    assert len(browser.driver.get_log("browser")) >= 3


def test_pictures_and_tables_are_seen_in_both_schemes(browser, tmp_path) -> None:
    page = page_of(tmp_path, plain())
    for scheme in ("light", "dark"):
        browser.open(page, scheme)
        sizes = browser.script("return [...document.querySelectorAll('.result img')].map(e => e.naturalWidth)")
        assert sizes == [300, 400] and browser.low_contrast() == []
        assert "1 1,000" in browser.text("#results") and not browser.driver.find_element("id", "record").is_displayed()
    for width in (380, 800, 1300):
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == 380}
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        inner, wide = browser.script("return [innerWidth, document.documentElement.scrollWidth]")
        assert wide <= inner
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_is_folded_opens_by_its_link_and_prints(browser, tmp_path) -> None:
    browser.open(page_of(tmp_path, plain()))
    browser.driver.find_element("css selector", ".figures a[href='#record']").click()
    assert browser.driver.find_element("id", "record").is_displayed()
    browser.open(tmp_path / "page.html")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.script("return document.getElementById('record').getBoundingClientRect().height") > 20


def test_a_picture_that_the_reader_has_not_seen_is_printed_too(browser, tmp_path) -> None:
    texts = {f"{n:02}.txt": b"line\n" * 200 for n in range(40)}
    browser.open(page_of(tmp_path, {**texts, "last.png": png(301, 201)}))
    assert browser.printed().count(b"/Width 301") == 1


@pytest.mark.parametrize("kind", [*bombs()])
def test_a_page_of_bombs_stays_small_and_opens_in_two_seconds(browser, tmp_path, kind) -> None:
    page = page_of(tmp_path, bombs()[kind])
    assert page.stat().st_size < SIZE
    best = min(opens(browser, page) for _ in range(3))
    assert best < 2, f"{best:.1f} s"
