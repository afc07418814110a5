"""How many seeds it takes."""

import math

import numpy as np
import pytest
from made_runs import FOUR

from algoperf.suite.power import power
from algoperf.suite.statistics import Sample


def spread(deviation: float, seeds: int = 3, *, is_paired: bool = True) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            w,
            rng.normal(5, deviation, seeds),
            rng.normal(5, deviation, seeds),
            is_paired,
        )
        for w in FOUR
    ]


def test_less_spread_detects_smaller_differences():
    assert power(spread(0.01)).detectable < power(spread(0.1)).detectable


def test_a_smaller_difference_takes_more_seeds():
    found = spread(0.05)
    assert power(found, 0.02).seeds_for_asked > power(found, 0.1).seeds_for_asked


def test_seeds_that_are_enough_detect_what_was_asked():
    found = spread(0.05)
    needed = power(found, 0.05).seeds_for_asked
    assert power(spread(0.05, needed)).detectable == pytest.approx(0.05, rel=0.5)


def test_the_stated_difference_is_found_with_the_stated_probability():
    """Simulated: differences of the detectable size are significant in about 80 %."""
    detectable = math.log1p(power(spread(0.05, 3)).detectable)
    rng = np.random.default_rng(1)
    deviation = math.sqrt(
        np.mean([np.var(s.first - s.second, ddof=1) for s in spread(0.05, 3)])
    )
    values = rng.normal(detectable, deviation, (2_000, len(FOUR), 3))
    pooled = np.sqrt(values.var(axis=2, ddof=1).mean(axis=1))
    t = values.mean(axis=(1, 2)) / (pooled / math.sqrt(3 * len(FOUR)))
    assert np.mean(np.abs(t) > 2.306) == pytest.approx(0.8, abs=0.06)


def test_one_seed_says_nothing_about_seeds():
    found = power(spread(0.05, 1))
    assert math.isnan(found.detectable)
    assert "run at least 2" in found.text()


def test_too_much_spread_is_said():
    found = power(spread(3.0))
    assert found.seeds_for_asked is None
    assert "more than 100" in found.text()


def test_the_sentence_has_both_numbers():
    text = power(spread(0.05)).text()
    assert text.startswith("3 seeds detect a difference of ")
    assert "; 5% takes " in text
