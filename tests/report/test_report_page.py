"""The page carries everything, lets nothing out and nothing in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fake_report import HOSTILE, make_report
from submanifold.lens.outcome import Cloud, Panel
from submanifold.report import render, to_json, write
from submanifold.report.clouds import MOST_POINTS, embed_json, interactive
from submanifold.report.reproduction import command

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, whether tags nest, and text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.scripts.append(data)
        elif inside != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return render(make_report())


@pytest.fixture(scope="module")
def flat_html() -> str:
    return render(make_report(space=2))


def test_nothing_on_the_page_points_outside(html: str) -> None:
    for tag, attributes in Page(html).elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, name, address[:60])
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_policy_names_exactly_the_scripts_that_are_there(html: str) -> None:
    page = Page(html)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    script_policy = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
    executed = re.findall(r"<script>(.*?)</script>", html, re.S)
    digests = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in executed}
    assert set(re.findall(r"'sha256-([^']+)'", script_policy)) == digests
    assert "unsafe" not in script_policy


def test_every_link_has_its_target_and_every_id_is_unique(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        address = attributes.get("href")
        if address and address.startswith("#"):
            assert address[1:] in ids
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name) is None or attributes[name] in ids


@pytest.mark.parametrize("space", [2, None])
def test_plotly_is_carried_only_where_there_is_something_in_three_dimensions(space: int | None) -> None:
    html = render(make_report(space=space))
    assert "plotly" not in html.lower()
    assert len(html) < 2_000_000


def test_plotly_is_carried_once(html: str) -> None:
    assert html.count("plotly.js v") == 1


def test_hostile_names_stay_text(flat_html: str) -> None:
    calm, hostile = Page(flat_html), Page(render(make_report(HOSTILE, space=2)))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in calm.elements]
    assert hostile.scripts == calm.scripts
    assert HOSTILE in "".join(hostile.text)


def test_hostile_labels_cannot_leave_the_points() -> None:
    points = np.zeros((3, 3))
    text = embed_json(interactive([Cloud(HOSTILE + "\u2028", points)]))
    assert not re.search(r"[<>&\u2028]", text)
    assert "&lt;script&gt;" in json.loads(text)[0]["name"]  # plotly reads names as markup


def test_the_order_of_the_page(html: str) -> None:
    places = [html.index(f'id="{name}"') for name in ("verdict", "models", "figures", "dimension", "findings")]
    assert places == sorted(places)
    report = make_report()
    text = "".join(Page(html).text)
    for sentence in report.headline:
        assert sentence in text
    for card in report.cards:
        for finding in card.findings:
            assert finding.summary in text
            assert finding.advice in text
            for assumption in finding.assumptions:
                assert assumption in text
            for number in finding.numbers.values():
                assert number.meaning in text
                assert number.kind in text


def test_answers_are_words_as_well_as_marks(flat_html: str) -> None:
    answers = re.findall(r'<div class="answer">.*?</svg><strong>(\w+)</strong>', flat_html, re.S)
    assert answers == ["yes", "no", "no", "unclear", "yes", "yes", "yes", "yes"]


def test_every_picture_says_what_it_is(html: str) -> None:
    pictures = Page(html).all("img")
    assert len(pictures) == 1 + 2 + 1 + 4  # clouds, panels, dimension, one finding of each model
    assert all((p["alt"] or "").strip() and p["width"] and p["height"] for p in pictures)


def test_many_points_are_thinned_evenly() -> None:
    n = 50_000
    trace = interactive([Cloud("data", np.repeat(np.arange(n)[:, None], 3, axis=1).astype(float))])[0]
    assert len(trace["x"]) == MOST_POINTS
    assert trace["x"][0] == 0
    assert trace["x"][-1] == n - 1
    assert np.ptp(np.diff(trace["x"])) <= 1


def test_symbols_and_colours_differ_between_clouds() -> None:
    traces = interactive(make_report().clouds)
    looks = [(t["marker"]["symbol"], t["marker"]["color"]) for t in traces]
    assert len({symbol for symbol, _ in looks}) == len({color for _, color in looks}) == len(traces)


def test_the_numbers_as_json() -> None:
    report = make_report()
    document = to_json(report)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema"] == "submanifold.report/1"
    assert [model["name"] for model in document["models"]] == [card.name for card in report.cards]
    numbers = document["models"][0]["findings"][0]["numbers"]
    assert numbers["w1_along_manifold"]["high"] == 0.2522
    assert numbers["lipschitz_scale"]["value"] is None


def test_writing_leaves_a_page_its_numbers_and_its_pictures(tmp_path: Path) -> None:
    page = write(make_report(space=2), tmp_path / "new" / "report.html")
    assert page == tmp_path / "new" / "report.html"
    names = sorted(str(p.relative_to(page.parent)) for p in page.parent.rglob("*") if p.is_file())
    assert names[:1] + names[-2:] == ["figures/clouds.png", "report.html", "report.json"]
    pictures = {p["src"] for p in Page(page.read_text("utf-8")).all("img")}
    for png in (page.parent / "figures").iterdir():
        assert png.read_bytes().startswith(b"\x89PNG")
        assert "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode() in pictures


def test_a_figure_that_cannot_be_drawn_costs_only_itself() -> None:
    def broken() -> None:
        raise ValueError("negative error bar")

    whole = make_report()
    cases = (([replace(whole.panels[0], draw=broken), whole.panels[1]], 7), ([Panel("dimension", "", "", broken)], 5))
    for panels, left in cases:
        with pytest.warns(UserWarning, match=r"figure '(training|dimension)' cannot be drawn: negative error bar"):
            page = Page(render(replace(whole, panels=panels)))
        assert whole.headline[0] in "".join(page.text)
        assert len(page.all("img")) == left


def test_the_same_report_gives_the_same_page() -> None:
    assert render(make_report(space=2)) == render(make_report(space=2))


def test_a_failed_write_keeps_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write(make_report("old", space=None), tmp_path / "report.html")
    before = page.read_bytes()
    import os

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(make_report("new", space=None), page)
    assert page.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["report", "report.json", "report.pdf"])
def test_only_pages_are_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"path=.*ending in \.html"):
        write(make_report(space=None), tmp_path / name)


def test_the_command_that_reproduces() -> None:
    lens = {"source": "my data.npy", "models": ["vae", "two-step"], "latent_dim": 9, "steps": "recipe", "seed": 0}
    assert command(lens) == "submanifold lens 'my data.npy' --models vae,two-step --latent-dim 9 --seed 0"
    assert command({"run": "runs/a", **lens}) == "submanifold audit runs/a 'my data.npy' --seed 0"
    called = {key: value for key, value in lens.items() if key != "source"}
    assert command(called) == "submanifold.lens.examine(X, models=['vae', 'two-step'], latent_dim=9, seed=0)"
