"""The sentences of an estimate hold its numbers, in each of its forms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fake_report import make_dimension
from submanifold.dimension.wording import how, near, places, verdict


def test_the_verdict_has_the_number_and_its_interval() -> None:
    assert verdict(make_dimension(), "digits") == (
        "digits: 1,797 points in 64 dimensions lie near a manifold of about 8.9 dimensions (95% interval 8.6 to 9.3)."
    )
    assert verdict(make_dimension(), "digits", 2500).startswith("digits: 2,500 points")
    assert verdict(replace(make_dimension(), true_dim=9), "blobs").endswith(
        "(95% interval 8.6 to 9.3); the truth is 9."
    )
    assert verdict(replace(make_dimension(pieces=True), true_dim=9), "x").endswith("; the largest truly has 9.")


def test_a_union_has_no_single_number() -> None:
    found = make_dimension(pieces=True)
    assert near(found) == (
        "a union of manifolds of different dimension: 2.1 (50% of the points), 8.7 (50% of the points)"
    )
    assert "describes none of the pieces" in how(found)[1]
    assert "nan" not in verdict(found, "x") + "".join(how(found))


def test_noise_at_all_scales_is_an_upper_bound() -> None:
    found = make_dimension()
    found = replace(found, interval=(0.0, 9.3), scale_curve=replace(found.scale_curve, flat=False))
    assert near(found) == "a manifold of at most about 8.9 dimensions (95% interval 0.0 to 9.3)"


def test_an_unbounded_interval_says_so() -> None:
    assert near(replace(make_dimension(), interval=(5.0, float("inf")))).endswith("(95% interval 5.0 or more)")


def test_how_it_was_read_names_scale_raw_reading_and_all_laws() -> None:
    text = " ".join(how(make_dimension()))
    for part in (
        "k = 13",
        "3.6",
        "8.05, 10% too little",
        "a uniform ball of 8.94",
        "a Gaussian of 8.65",
        "sphere of 8.80",
    ):
        assert part in text


def test_chosen_methods_are_named_in_place_of_the_scale() -> None:
    text = how(replace(make_dimension(), dimension=9.0, pooled=True))
    assert text[0] == "The number is the mean of mle, twonn, lpca, as asked for."
    assert "8.9" in text[1]


@pytest.mark.parametrize(
    ("p", "spread", "words"),
    [
        (1e-9, 0.19, "differs from place to place, by about 19% beyond that error (p < 0.0001)"),
        (0.002, 0.05, "differs a little from place to place, by less than a tenth (p = 0.002)"),
        (0.3, 0.0, "is the same everywhere, as far as can be told (p = 0.3)"),
    ],
)
def test_places(p: float, spread: float, words: str) -> None:
    found = make_dimension()
    text = places(replace(found, local=replace(found.local, p_value=p, spread=spread)))
    assert text.startswith("Around single points (k = 20) the dimension is 6.3 to 11.7, median 9.0, each with an error")
    assert words in text
