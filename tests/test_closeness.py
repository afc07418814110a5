"""The rule by which numeric tests compare: rounding passes, errors do not."""

import numpy as np
import pytest

from tests.closeness import assert_close, assert_parts_close, is_close

RNG = np.random.default_rng(0)


def gradients():
    """Parameters of very different sizes, and one that is 0 but for rounding."""
    sizes = {"kernel": 30.0, "bias": 1.0, "scale": 1e-3, "key_bias": 1e-8}
    return {
        name: (size * RNG.normal(size=(40, 7))).astype(np.float32)
        for name, size in sizes.items()
    }


def test_the_rounding_of_float32_passes():
    matrix, vectors = RNG.normal(size=(300, 400)), RNG.normal(size=(400, 20))
    exact = matrix @ vectors
    rounded = matrix.astype(np.float32) @ vectors.astype(np.float32)
    assert_close(rounded, exact, tolerance=1e-6)


def test_what_cancels_is_measured_by_the_whole():
    expected = gradients()
    other = {**expected, "key_bias": -3 * expected["key_bias"]}
    assert_parts_close(other, expected)
    assert not is_close(other["key_bias"], expected["key_bias"])


@pytest.mark.parametrize("name", ["kernel", "bias", "scale"])
@pytest.mark.parametrize("tolerance", [1e-4, 2e-3])
def test_an_error_of_one_percent_in_one_gradient_fails(name, tolerance):
    expected = gradients()
    wrong = {**expected, name: 1.01 * expected[name]}
    with pytest.raises(AssertionError, match=name):
        assert_parts_close(wrong, expected, tolerance=tolerance)


def test_one_wrong_element_fails_and_is_named():
    expected = RNG.normal(size=(100, 100))
    wrong = expected.copy()
    wrong[3, 5] += 1
    with pytest.raises(AssertionError, match=r"at \(3, 5\)"):
        assert_close(wrong, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_close_to_nothing(value):
    assert not is_close([1.0, value], [1.0, 2.0])
    assert not is_close([1.0, 2.0], [1.0, value])
    assert not is_close([1.0, value], [1.0, value])


def test_shapes_and_names_must_agree():
    with pytest.raises(AssertionError, match="shape"):
        assert_close(np.ones((3, 1)), np.ones(3))
    with pytest.raises(AssertionError):
        assert_parts_close({"a": 1.0}, {"a": 1.0, "b": 0.0})


def test_tensors_of_a_graph_and_in_bfloat16_are_compared():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([1.0, 2.5], requires_grad=True)
    assert_close(tensor, [1, 2.5])
    assert_close(tensor.bfloat16(), tensor)
