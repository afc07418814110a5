"""Schedules: edges, agreement with the published rules, the same in every namespace."""

import pytest
from tiny_workloads import hyperparameters
from update_rule_oracles import POINTS, cosine_rate, linear_rate

from algoperf.reference_algorithms._shared import schedules

COSINE, LINEAR = POINTS["nadamw"], POINTS["nesterov"]


def cosine(step_hint: int = 100, **changes: float) -> schedules.WarmupCosine:
    return schedules.warmup_cosine(hyperparameters({**COSINE, **changes}), step_hint)


def linear(step_hint: int = 100, **changes: float) -> schedules.WarmupLinear:
    return schedules.warmup_linear(hyperparameters({**LINEAR, **changes}), step_hint)


@pytest.mark.parametrize("schedule", [cosine(), linear()])
def test_first_step_has_rate_zero(schedule):
    assert schedule(0) == 0.0


@pytest.mark.parametrize("schedule", [cosine(), linear()])
def test_rate_peaks_when_the_warmup_ends(schedule):
    assert schedule(20) == schedule.peak == max(schedule(s) for s in range(200))


@pytest.mark.parametrize("schedule", [cosine(), linear()])
def test_warmup_is_linear(schedule):
    assert schedule(5) == pytest.approx(schedule.peak / 4)


@pytest.mark.parametrize("schedule", [cosine(warmup_factor=0), linear(warmup_factor=0)])
def test_without_warmup_the_first_rate_is_the_peak(schedule):
    assert schedule(0) == schedule.peak


@pytest.mark.parametrize("step", [100, 101, 140, 200, 10_000])
def test_cosine_stays_at_zero_from_the_step_hint_on(step):
    assert cosine()(step) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("step", [76, 77, 100, 10_000])
def test_linear_stays_at_its_end_factor_after_the_decay(step):
    # Warm-up 20 steps, decay int(80 * 0.7) = 56 steps.
    assert linear()(step) == pytest.approx(0.05 * 0.05)


def test_linear_is_above_its_end_one_step_before_the_decay_ends():
    assert linear()(75) > linear()(76)


def test_warmup_over_the_whole_hint_still_ends_at_zero():
    assert cosine(warmup_factor=1.0)(101) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("step_hint", [1, 7, 16, 133])
@pytest.mark.parametrize("step", range(0, 140, 3))
def test_rates_equal_the_published_rules(step, step_hint):
    assert cosine(step_hint)(step) == pytest.approx(
        cosine_rate(step, COSINE, step_hint), abs=1e-15
    )
    assert linear(step_hint)(step) == pytest.approx(
        linear_rate(step, LINEAR, step_hint), abs=1e-15
    )


@pytest.mark.parametrize("schedule", [cosine(), linear()])
def test_traced_rates_on_the_device_equal_those_on_the_host(schedule):
    jax = pytest.importorskip("jax")
    on_device = jax.jit(lambda step: schedule(step, jax.numpy))
    for step in (0, 3, 20, 55, 100, 150):
        rate = float(on_device(jax.numpy.int32(step)))
        assert rate == pytest.approx(float(schedule(step)), rel=1e-5, abs=1e-8)


def test_no_hyperparameters_says_that_the_algorithm_needs_external_tuning():
    with pytest.raises(ValueError, match="external"):
        schedules.warmup_cosine(None, 100)
