"""The page in headless Chromium: quiet, complete, legible and alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import complaints, open_browser, requests, visit

from fake_report import HOSTILE, make_report
from submanifold.report import write

pytestmark = pytest.mark.browser

WIDTHS = [1280, 400]
NOISE = ("GL Driver Message", "willReadFrequently")  # performance hints about software rendering


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(make_report(HOSTILE), tmp_path_factory.mktemp("space") / "report.html")


@pytest.fixture(scope="module")
def flat_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(make_report(space=2), tmp_path_factory.mktemp("plane") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as driver:
        driver.get("about:blank")
        yield driver


def _open(browser: Any, page: Path, **window: Any) -> None:
    requests(browser), complaints(browser)  # forget what came before
    visit(browser, page, **window)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_quiet_and_asks_for_nothing(browser: Any, page: Path, width: int, scheme: str) -> None:
    _open(browser, page, width=width, scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert [c for c in complaints(browser) if not any(noise in c for noise in NOISE)] == []
    asked = [url for url in requests(browser) if not url.startswith(("data:", "blob:"))]
    assert asked == [page.resolve().as_uri()]


def test_every_picture_is_drawn(browser: Any, page: Path) -> None:
    _open(browser, page)
    widths = browser.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        document.querySelectorAll("details").forEach((d) => { d.open = true; });
        const images = [...document.images];
        images.forEach((i) => i.closest("[hidden]")?.removeAttribute("hidden"));
        Promise.all(images.map((i) => i.decode())).then(() => done(images.map((i) => i.naturalWidth)), () => done([0]));
        """
    )
    assert len(widths) == 8
    assert min(widths) > 300


def test_the_points_are_drawn_and_the_still_picture_steps_back(browser: Any, page: Path) -> None:
    _open(browser, page)
    drawn = browser.execute_script(
        """
        const plot = document.getElementById("plot");
        return [plot.querySelectorAll("canvas").length > 0, plot.data.length, plot.data.map((t) => t.x.length),
                document.querySelector(".still").hidden, document.querySelector(".controls").hidden];
        """
    )
    assert drawn == [True, 5, [2000, 500, 500, 500, 500], True, False]


def test_the_points_answer_to_the_keyboard(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    _open(browser, page)
    boxes = browser.find_elements("css selector", "[data-trace]")
    assert [box.is_selected() for box in boxes] == [True, True, False, False, False]
    boxes[1].send_keys(Keys.SPACE)
    boxes[3].send_keys(Keys.SPACE)
    browser.find_element("css selector", "[value=class]").send_keys(Keys.SPACE)
    browser.find_element("css selector", "[data-turn='30']").send_keys(Keys.ENTER)
    browser.execute_async_script("setTimeout(arguments[arguments.length - 1], 300)")
    visible, colours, eye = browser.execute_script(
        """
        const plot = document.getElementById("plot");
        return [plot.data.map((t) => t.visible !== false), Array.isArray(plot.data[0].marker.color),
                plot.layout.scene.camera.eye];
        """
    )
    assert visible == [True, False, False, True, False]
    assert colours is True
    assert eye["x"] < eye["y"]  # home has x = y, a turn to the right brings x down


def test_without_webgl_the_still_picture_stays(page: Path) -> None:
    with open_browser("--disable-3d-apis") as browser:
        browser.get("about:blank")
        _open(browser, page)
        shown = browser.execute_script(
            "const i = document.querySelector('.still img'); return [i.naturalWidth > 0, i.getClientRects().length,"
            "document.getElementById('plot').hidden, document.querySelector('.controls').hidden]"
        )
        assert shown == [True, 1, True, True]
        assert [c for c in complaints(browser) if not any(noise in c for noise in NOISE)] == []


@pytest.mark.parametrize("width", [*WIDTHS, 320])
def test_nothing_is_wider_than_the_window(browser: Any, page: Path, width: int) -> None:
    _open(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page_width, culprits = browser.execute_script(
        """
        const wide = [...document.querySelectorAll("body *")].filter((e) => {
          if (e.closest(".scroll") !== null && !e.matches(".scroll")) return false;
          if (e.closest(".hidden, .skip, #plot, svg")) return false;
          const box = e.getBoundingClientRect();
          return box.width && (box.right > innerWidth + 1 || box.left < -1);
        });
        return [document.documentElement.scrollWidth, wide.map((e) => e.outerHTML.slice(0, 80))];
        """
    )
    assert culprits == []
    assert page_width == width


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_legible(browser: Any, page: Path, width: int) -> None:
    _open(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    small = browser.execute_script(
        """
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), small = [];
        while (walker.nextNode()) {
          const e = walker.currentNode.parentElement, shown = e.getClientRects().length > 0;
          if (!walker.currentNode.data.trim() || e.closest("script, style, svg") || !shown) continue;
          const size = parseFloat(getComputedStyle(e).fontSize);
          if (size < 14) small.push([size, walker.currentNode.data.trim().slice(0, 40)]);
        }
        return small;
        """
    )
    assert small == []
    scales = browser.execute_script(
        "return [...document.querySelectorAll('.paper img')].filter((i) => i.getClientRects().length)"
        ".map((i) => i.getBoundingClientRect().width / Number(i.getAttribute('width')))"
    )
    assert min(scales) >= 0.79  # text of 10.5 pt in a figure stays above 11 pixels


CONTRAST = """
const rgba = (text) => {
  const parts = text.match(/[\\d.]+/g).map(Number);
  return parts.length < 4 ? [...parts, 1] : parts;
};
const luminance = ([r, g, b]) => {
  const [R, G, B] = [r, g, b].map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * R + 0.7152 * G + 0.0722 * B;
};
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), pale = [];
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || e.closest("script, style, svg, #plot") || !e.getClientRects().length) continue;
  const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) pale.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
}
for (const mark of document.querySelectorAll(".mark")) {
  const [a, b] = [luminance(rgba(getComputedStyle(mark).color)), luminance(behind(mark))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 3) pale.push([mark.outerHTML.slice(0, 60)]);
}
return pale;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Any, page: Path, scheme: str) -> None:
    _open(browser, page, scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.execute_script(CONTRAST) == []


def test_landmarks_headings_and_names(browser: Any, page: Path) -> None:
    _open(browser, page)
    facts = browser.execute_script(
        """
        const one = (selector) => document.querySelectorAll(selector).length;
        const levels = [...document.querySelectorAll("h1,h2,h3,h4")].map((h) => Number(h.tagName[1]));
        const skips = levels.filter((level, i) => level > (levels[i - 1] ?? 0) + 1);
        const named = (e) => (e.getAttribute("aria-label") || e.textContent).trim().length > 0;
        const scrollers = [...document.querySelectorAll(".scroll")];
        return {
          lang: document.documentElement.lang, title: document.title.length > 0, h1: one("h1"), main: one("main"),
          header: one("header"), nav: one("nav[aria-label]"), skips,
          unnamed: [...document.querySelectorAll("a,button,summary,label")].filter((e) => !named(e)).length,
          unreachable: scrollers.filter((e) => e.tabIndex !== 0).length,
          unscoped: [...document.querySelectorAll("th")].filter((e) => !e.scope).length,
          uncaptioned: [...document.querySelectorAll("table")].filter((e) => !e.caption).length,
          alt: [...document.images].filter((e) => !e.alt.trim()).length,
        };
        """
    )
    assert facts.pop("lang") == "en"
    assert facts.pop("title") is True
    assert facts.pop("skips") == []
    assert [facts.pop(landmark) for landmark in ("h1", "main", "header", "nav")] == [1, 1, 1, 1]
    assert set(facts.values()) == {0}, facts


def test_hostile_names_run_nothing(browser: Any, page: Path) -> None:
    _open(browser, page)
    assert HOSTILE.split("<")[0] in browser.find_element("css selector", "h1").text
    assert "<script>" in browser.find_element("css selector", "h1").text


def test_a_link_to_a_finding_opens_it(browser: Any, flat_page: Path) -> None:
    _open(browser, flat_page)
    link = browser.find_element("css selector", "a[href='#vae-sample-quality']")
    target = browser.find_element("id", "vae-sample-quality")
    assert target.get_attribute("open") is None
    browser.execute_script("arguments[0].click()", link)
    browser.execute_async_script("setTimeout(arguments[arguments.length - 1], 100)")
    assert target.get_attribute("open") is not None


def test_paper_shows_every_finding_and_the_still_picture(browser: Any, page: Path) -> None:
    _open(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = browser.execute_script(
        "dispatchEvent(new Event('beforeprint'));"
        "return [document.querySelectorAll('details:not([open])').length,"
        "document.getElementById('plot').getClientRects().length,"
        "document.querySelector('.still').getClientRects().length]"
    )
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden == [0, 0, 1]
