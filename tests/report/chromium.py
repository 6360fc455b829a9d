"""A headless Chromium that keeps to itself, and what one page did in it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["complaints", "open_browser", "requests", "visit"]

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


def _binary(*names: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise RuntimeError(f"the browser tests need {names[0]!r} on the PATH: install chromium and chromium-driver")


@contextmanager
def open_browser(*flags: str) -> Iterator[Any]:
    """A selenium driver with its own profile, closed at the end; it records console and network."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _binary("chromium", "chromium-browser", "google-chrome")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(executable_path=_binary("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        driver.set_page_load_timeout(60)
        driver.set_script_timeout(60)
        try:
            yield driver
        finally:
            driver.quit()


def visit(driver: Any, page: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
    """Open `page` in a window of that inner size and colour scheme, and wait for its figures."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    driver.get(page.resolve().as_uri())
    driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const until = performance.now() + 30000;
        const plot = document.getElementById("plot");  // it stays hidden where there is no WebGL
        const settled = () => !plot || plot.hidden || document.querySelector(".still").hidden
          || performance.now() > until;
        (function wait() { settled() ? requestAnimationFrame(() => setTimeout(done, 100)) : setTimeout(wait, 50); })();
        """
    )


def requests(driver: Any) -> list[str]:
    """Addresses that were asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def complaints(driver: Any) -> list[str]:
    """What the console said since the last call, errors and warnings."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
