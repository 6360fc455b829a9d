"""Numbers are shown with the digits that their error justifies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from submanifold.lens.finding import Number
from submanifold.report.wording import estimate, fact, interval, number, slug

NARROW = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3, "3"),
        (-2.5, "−2.50"),
        (0.23123, "0.231"),
        (0.00123456, "0.00123"),
        (123.456, "123"),
        (182_344, f"182{NARROW}344"),
        (1.5e-7, "1.50 × 10⁻⁷"),
        (-2e12, "−2.00 × 10¹²"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "undefined"),
        (np.float32(0.5), "0.500"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("exponent", range(-6, 7))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_reader_gets_the_number_back_to_three_digits(exponent: int, sign: int) -> None:
    value = sign * 1.23456 * 10.0**exponent
    text = number(value).replace(NARROW, "").replace("−", "-")
    if "×" in text:
        mantissa, power = text.split(" × 10")
        read = float(mantissa) * 10.0 ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
    else:
        read = float(text)
    assert read == pytest.approx(value, rel=0.006)


def test_an_interval_decides_the_digits_of_its_estimate() -> None:
    wide = Number(54.1312, 51.2, 57.1)
    assert (estimate(wide), interval(wide)) == ("54.1", "[51.2, 57.1]")
    narrow = Number(0.231234, 0.230111, 0.232333, "pixels")
    assert (estimate(narrow), interval(narrow)) == ("0.2312 pixels", "[0.2301, 0.2323]")
    coarse = Number(1234.4, 1100.0, 1400.0)
    assert (estimate(coarse), interval(coarse)) == (f"1{NARROW}234", f"[1{NARROW}100, 1{NARROW}400]")


def test_the_ends_of_an_interval_never_round_to_the_same_text() -> None:
    rng = np.random.default_rng(0)
    for value, width in zip(rng.normal(0, 100, 300), 10 ** rng.uniform(-4, 2, 300), strict=True):
        shown = interval(Number(value, value - width, value + width))
        low, high = shown.strip("[]").split(", ")
        assert low != high


def test_no_interval_is_a_dash_and_an_unbounded_one_says_so() -> None:
    assert interval(Number(1.0)) == "—"
    assert interval(Number(1.0, 0.5, math.inf)) == "[0.500, ∞]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (True, "yes"),
        ((1, 28, 28), "1 × 28 × 28"),
        (["vae", "two-step"], "vae, two-step"),
        ([], "—"),
        (np.array([1, 2]), "1, 2"),
        ({"learning_rate": 0.001, "ema": None}, "learning rate: 0.001, ema: —"),
        (Number(8.94, 8.61, 9.27), "8.94 [8.61, 9.27]"),
        ([10.0, 0.25, -1.5], "10, 0.25, −1.5"),
        (2000, f"2{NARROW}000"),
        ("R^64", "R^64"),
    ],
)
def test_facts_in_words(value: object, text: str) -> None:
    assert fact(value) == text


def test_slugs_are_safe_as_file_names_and_fragments() -> None:
    assert slug("../../Etc/passwd <b>") == "etc-passwd-b"
    assert slug("二") == "figure"
