"""The page of a dimension in headless Chromium: quiet, complete, legible and alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import complaints, open_browser, requests, visit
from test_report_browser import CONTRAST

from fake_report import HOSTILE, make_dimension
from submanifold.report import write_dimension

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    X = np.random.default_rng(0).normal(size=(1797, 64))
    path = tmp_path_factory.mktemp("dimension") / "page.html"
    return write_dimension(make_dimension(noisy=True), X, path, name=HOSTILE, settings={"source": "digits", "seed": 0})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as driver:
        driver.get("about:blank")
        yield driver


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_quiet_alone_and_no_wider_than_the_window(
    browser: Any, page: Path, width: int, scheme: str
) -> None:
    requests(browser), complaints(browser)  # forget what came before
    visit(browser, page, width=width, scheme=scheme)
    assert complaints(browser) == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.execute_script(CONTRAST) == []


def test_pictures_are_drawn_and_headings_do_not_skip(browser: Any, page: Path) -> None:
    visit(browser, page)
    widths, levels, unscoped = browser.execute_script(
        """
        return [[...document.images].map((i) => i.naturalWidth),
                [...document.querySelectorAll("h1,h2,h3")].map((h) => Number(h.tagName[1])),
                [...document.querySelectorAll("th")].filter((e) => !e.scope).length];
        """
    )
    assert len(widths) == 2
    assert min(widths) > 300
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert unscoped == 0
