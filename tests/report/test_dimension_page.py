"""The page of a dimension: verdict, evidence and how to get it again, in one file that asks for nothing."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_report_page import Page

from fake_report import HOSTILE, make_dimension
from submanifold.dimension.wording import how, places, verdict
from submanifold.errors import InvalidInput
from submanifold.report import render_dimension, write_dimension
from submanifold.report.reproduction import dimension_command

X = np.random.default_rng(0).normal(size=(1797, 64))
SETTINGS = {"source": "digits", "k": 5, "seed": 0}


@pytest.fixture(scope="module")
def html() -> str:
    return render_dimension(make_dimension(), X, name="digits", settings=SETTINGS)


def test_nothing_on_the_page_points_outside(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, name, address[:60])
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for a in page.all("a") if a["href"])
    assert len(html) < 1_000_000


def test_everything_is_said(html: str) -> None:
    found, text = make_dimension(), "".join(Page(html).text)
    for sentence in (verdict(found, "digits"), *how(found), places(found), *found.warnings):
        assert sentence in text
    for word in ("consensus", "lpca", "Would agree", "class 9", "cluster 1", "submanifold dimension digits --k 5"):
        assert word in text
    places_of = [html.index(f'id="{name}"') for name in ("verdict", "scales", "estimates", "places", "notes", "words")]
    assert places_of == sorted(places_of)
    assert len(Page(html).all("img")) == 2


def test_pieces_have_their_share_and_no_consensus() -> None:
    text = "".join(Page(render_dimension(make_dimension(pieces=True), X)).text)
    assert "a union of manifolds" in text
    assert re.search(r"piece 1\s*2.10\s*\[2.00, 2.20\]\s*50%", text)
    assert "consensus" not in text.split("What the words mean")[0].split("From place to place")[0].split("Estimates")[2]


def test_hostile_names_stay_text(html: str) -> None:
    hostile = Page(render_dimension(make_dimension(), X, name=HOSTILE, settings={**SETTINGS, "source": HOSTILE}))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in Page(html).elements]
    assert hostile.scripts == Page(html).scripts
    assert HOSTILE in "".join(hostile.text)


def test_writing_leaves_a_page_its_numbers_and_its_pictures(tmp_path: Path) -> None:
    path = write_dimension(make_dimension(noisy=True), X, tmp_path / "new" / "page.html", name="digits")
    document = json.loads(path.with_suffix(".json").read_text())
    assert set(document) == {"schema", "data", "verdict", "how", "dimension", "settings"}
    pictures = {p["src"] for p in Page(path.read_text("utf-8")).all("img")}
    for png in (path.parent / "figures").iterdir():
        assert "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode() in pictures
    assert "submanifold.dimension.estimate(X)" in path.read_text("utf-8")


def test_the_same_estimate_gives_the_same_page(html: str) -> None:
    assert render_dimension(make_dimension(), X, name="digits", settings=SETTINGS) == html


def test_other_points_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="X holds 100 points: give the 1797 points"):
        write_dimension(make_dimension(), X[:100], tmp_path / "page.html")
    with pytest.raises(InvalidInput, match=r"ending in \.html"):
        write_dimension(make_dimension(), X, tmp_path / "page.pdf")
    assert list(tmp_path.iterdir()) == []


def test_distances_alone_have_no_map_but_a_histogram(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = replace(make_dimension(), ambient_dim=None, metric="precomputed")
    for given in (rng.random((1797, 3)), None):
        text = "".join(Page(render_dimension(found, given, name="far")).text)
        assert "far: 1,797 points with precomputed distances lie near" in text
        assert "How often each dimension occurs" in text
        assert "principal axes" not in text
        assert "coordinates\n" not in text
    assert json.loads(write_dimension(found, None, tmp_path / "p.html").with_suffix(".json").read_text())


def test_a_picture_that_cannot_be_drawn_costs_only_itself() -> None:
    found = make_dimension()
    broken = replace(found, local=replace(found.local, dimension=np.ones(3)))
    with pytest.warns(UserWarning, match="'local-dimension' cannot be drawn"):
        page = Page(render_dimension(broken, X))
    assert len(page.all("img")) == 1


def test_the_command_that_reproduces() -> None:
    asked = {"source": "my data.npy", "methods": ["mle", "twonn"], "k": None, "limit": 500, "seed": 3}
    assert dimension_command(asked) == "submanifold dimension 'my data.npy' --method mle,twonn --seed 3 --limit 500"
    assert dimension_command({"metric": "cosine"}) == "submanifold.dimension.estimate(X, metric='cosine')"
    assert dimension_command({"k": 5, "seed": 1}) == "submanifold.dimension.estimate(X, k=5, seed=1)"
