"""Second derivatives of functions whose backward pass was written by hand."""

import pytest

jax = pytest.importorskip("jax")


def test_the_hessian_needs_no_forward_mode():
    from algoperf.jax_backend import derivatives

    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))

    @jax.custom_vjp
    def cube(x):
        return x**3

    # A backward pass that calls such a function has no forward mode.
    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * square(x) * g,))

    def mean(values):
        return cube(values["a"]).sum() + values["a"][0] * values["b"]

    values = {"a": jax.numpy.array([1.0, 2.0]), "b": jax.numpy.array(3.0)}
    vector = {"a": jax.numpy.array([1.0, 1.0]), "b": jax.numpy.array(2.0)}
    with pytest.raises(derivatives.NO_DERIVATIVE):
        derivatives.forward_over_reverse(mean, values, vector)
    found = derivatives.reverse_over_reverse(mean, values, vector)
    assert found["a"].tolist() == [8.0, 12.0]
    assert found["b"].item() == 1.0
