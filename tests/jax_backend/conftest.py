"""Models and losses say to which type they bring arrays."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _strict_promotion(strict_promotion):
    pass
