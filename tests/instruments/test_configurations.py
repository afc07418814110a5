"""Which quantities a configuration has, and what they need."""

import pytest

from algoperf.errors import UnknownName
from algoperf.histograms import GRADIENT_1D, Bins
from algoperf.instruments import configurations


def test_configurations_grow():
    light, economy, business, full = (
        set(configurations.quantities(name)) for name in configurations.CONFIGURATIONS
    )
    assert light < economy < business < full
    in_none = {"CABS", "EarlyStopping", "MeanGSNR", "Parameters", "TICTrace", "Time"}
    assert full | in_none == set(configurations.QUANTITIES)
    assert not full & in_none


def test_light_needs_no_gradient_of_a_single_example():
    light = configurations.quantities("light")
    assert not configurations.needs(light) & {"individual", "squares", "curvature"}


def test_quantities_can_be_listed():
    assert configurations.quantities("Loss, Alpha,Loss") == ("Alpha", "Loss")


def test_an_unknown_name_is_refused_with_a_near_one():
    with pytest.raises(UnknownName, match=r"'econmy'.*economy"):
        configurations.quantities("econmy")
    with pytest.raises(UnknownName, match=r"'NormTst'.*NormTest"):
        configurations.quantities("Loss,NormTst")


def test_bins_are_written_and_read():
    assert Bins.from_json(GRADIENT_1D.to_json()) == GRADIENT_1D
