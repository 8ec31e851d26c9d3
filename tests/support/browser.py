"""Opens pages in the system's headless Chromium. Downloads nothing."""

from __future__ import annotations

import base64
import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
LACKING = "" if CHROMIUM and DRIVER else "no chromium with chromedriver here (Debian: apt-get install chromium-driver)"
CONTRAST = """
const parse = c => c.match(/[\\d.]+/g).map(Number);
const lum = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const back = e => {
    for (; e; e = e.parentElement) {
        const colour = parse(getComputedStyle(e).backgroundColor);
        if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
};
const low = [];
for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest('title, desc, style')) continue;
    const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
    const box = e.closest('.box rect ~ text') && e.parentElement.querySelector('rect');
    const under = box ? parse(getComputedStyle(box).fill) : back(e);
    const [a, b] = [lum(parse(svg ? style.fill : style.color)), lum(under)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([e.tagName, e.textContent.slice(0, 40), (a + 0.05) / (b + 0.05)]);
}
return low;
"""


class Browser:
    """Chromium with one page: what the page shows, and what it requests."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(word)
        options.binary_location = str(CHROMIUM)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        self.driver.set_window_size(1120, 900)

    def open(self, page: Path, scheme: str = "light") -> list[str]:
        """Open a file in a colour scheme, and return the URLs that were requested for it, the file itself first."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get_log("performance")
        self.driver.get(page.as_uri())
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def text(self, selector: str = "body") -> str:
        """Return the text that a reader sees."""
        return self.driver.find_element("css selector", selector).text

    def script(self, text: str, *arguments: object) -> Any:
        return self.driver.execute_script(text, *arguments)

    def unfold(self) -> None:
        """Open what the page has folded."""
        self.script("for (const part of document.querySelectorAll('details')) part.open = true")

    @contextmanager
    def sized(self, width: int) -> Iterator[None]:
        """Show the page on a screen of this width, in px."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def low_contrast(self) -> list[list[object]]:
        """Return the elements whose text has a contrast below 4.5 to 1 with its background."""
        return self.driver.execute_script(CONTRAST)

    def printed(self) -> bytes:
        """Return the page as PDF, in the paper size that it names."""
        done = self.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
        return base64.b64decode(done["data"])

    def picture(self, first: str, last: str) -> bytes:
        """Return a PNG of the page, from the element `first` to the start of `last`."""
        top, bottom = self.script(
            "return [...arguments].map(s => document.querySelector(s).getBoundingClientRect().y + scrollY)", first, last
        )
        clip = {"x": 0, "y": top - 24, "width": self.script("return innerWidth"), "height": bottom - top, "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"])

    def close(self) -> None:
        self.driver.quit()
