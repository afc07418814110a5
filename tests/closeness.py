"""How close two computations of the same numbers must be: one rule for all tests.

Floating-point sums come out differently with every order of their terms, that is, with every
instruction set, number of threads and compiler. The error of an element is relative to the
terms that were summed, not to the element: an element that is 0 but for cancellation has no
digit that can be compared. So errors are measured by norms, ||actual - expected|| against
||expected|| over all elements, and for one gradient of many also against the norm of all of
them. Per element, a tolerance would be either too strict for such zeros or too loose for the
rest.

For a norm, float32 keeps 1e-6 in one layer and 1e-5 in a network; a wrong formula, layout or
factor moves it by 1e-2 and more.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Of the norm: float32 in a network of several layers.
FLOAT32 = 1e-4
# Of the norm: a few operations in float32.
FLOAT32_SHORT = 1e-5
# Of the norm: float64 in a network of several layers.
FLOAT64 = 1e-9
# Of the norm of the whole: what rounding in float32 leaves of a part that is exactly 0,
# such as the gradient of attention's key bias, which softmax ignores.
ROUNDING = 1e-7


def as_numpy(x: Any) -> np.ndarray:
    """An array of any framework, or a number, in double precision."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x.resolve_conj() if x.is_complex() else x.double()).numpy()
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def norm(x: Any) -> float:
    """The square root of the sum of all elements' squares."""
    return float(np.linalg.norm(as_numpy(x).ravel()))


def is_close(
    actual: Any, expected: Any, *, tolerance: float = FLOAT32, whole: float = 0.0
) -> bool:
    """Whether ||actual - expected|| <= tolerance ||expected|| + ROUNDING whole.

    whole: the norm of the result of which these are a part, 0 where they are all of it.
    Shapes must agree; NaN and infinity are close to nothing.
    """
    error, allowed = _error_and_limit(actual, expected, tolerance, whole)
    return error <= allowed


def assert_close(
    actual: Any,
    expected: Any,
    what: str = "the result",
    *,
    tolerance: float = FLOAT32,
    whole: float = 0.0,
) -> None:
    """Raises AssertionError with both norms unless `is_close`."""
    error, allowed = _error_and_limit(actual, expected, tolerance, whole)
    if error <= allowed:
        return
    a, b = as_numpy(actual), as_numpy(expected)
    worst = np.unravel_index(np.argmax(np.abs(a - b)), a.shape)
    raise AssertionError(
        f"{what}: ||actual - expected|| is {error:.3g}, allowed are {allowed:.3g}; "
        f"||expected|| is {norm(b):.3g}, ||actual|| {norm(a):.3g}. The largest difference "
        f"is at {tuple(map(int, worst))}: {a[worst]!r} instead of {b[worst]!r}."
    )


def assert_parts_close(
    actual: Mapping[str, Any],
    expected: Mapping[str, Any],
    *,
    tolerance: float = FLOAT32,
) -> None:
    """Two gradients (or other sets of named arrays): same names, every part close.

    Each part is measured by its own norm, so that an error in a small one is found; what
    may be left of a part that is exactly 0 is measured by the norm of all parts together.
    """
    assert actual.keys() == expected.keys()
    whole = norm([norm(part) for part in expected.values()])
    for name, part in expected.items():
        assert_close(actual[name], part, name, tolerance=tolerance, whole=whole)


def assert_each_close(
    actual: Mapping[str, Any],
    expected: Mapping[str, Any],
    *,
    tolerance: float = FLOAT32,
) -> None:
    """Named quantities that have nothing in common, such as metrics: each on its own."""
    assert actual.keys() == expected.keys()
    for name, quantity in expected.items():
        assert_close(actual[name], quantity, name, tolerance=tolerance)


def _error_and_limit(
    actual: Any, expected: Any, tolerance: float, whole: float
) -> tuple[float, float]:
    a, b = as_numpy(actual), as_numpy(expected)
    assert a.shape == b.shape, f"shape {a.shape} instead of {b.shape}"
    limit = tolerance * norm(b) + ROUNDING * whole
    with np.errstate(invalid="ignore"):
        return norm(a - b), limit if np.isfinite(limit) else 0.0
