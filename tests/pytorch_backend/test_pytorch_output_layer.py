"""Deferred logits in PyTorch: the same losses and gradients, never all at once."""

import functools

import numpy as np
import pytest

from algoperf import deferred_logits
from algoperf.spec import LossType

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from algoperf.pytorch_backend import losses, output_layer  # noqa: E402

cross_entropy = functools.partial(losses.loss, LossType.SOFTMAX_CROSS_ENTROPY)

RNG = np.random.default_rng(0)
BATCH, LENGTH, WIDTH, CLASSES = 3, 8, 5, 11
HIDDEN = torch.tensor(RNG.normal(size=(BATCH, LENGTH, WIDTH)), dtype=torch.float32)
TABLE = torch.tensor(RNG.normal(size=(CLASSES, WIDTH)), dtype=torch.float32)
LABELS = torch.tensor(RNG.integers(0, CLASSES, (BATCH, LENGTH)))
LOGITS = HIDDEN @ TABLE.T


@pytest.fixture(autouse=True)
def parts_of_two_tokens(monkeypatch):
    monkeypatch.setattr(deferred_logits, "_MOST_AT_ONCE", BATCH * 2 * CLASSES)


def deferred(hidden=HIDDEN, table=TABLE):
    logits = output_layer.logits(hidden, table)
    assert isinstance(logits, deferred_logits.DeferredLogits)
    assert logits.num_parts == 4
    return logits


def close(found, expected):
    np.testing.assert_allclose(
        torch.as_tensor(found).detach(), expected.detach(), rtol=1e-4, atol=1e-5
    )


def test_small_logits_are_a_tensor(monkeypatch):
    monkeypatch.setattr(deferred_logits, "_MOST_AT_ONCE", BATCH * LENGTH * CLASSES)
    logits = output_layer.logits(HIDDEN, TABLE)
    assert isinstance(logits, torch.Tensor)
    close(logits, LOGITS)


@pytest.mark.parametrize("mask", [None, "examples", "tokens"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_the_tensor(mask, smoothing):
    weights = {
        None: None,
        "examples": torch.tensor([1.0, 0.0, 2.0]),
        "tokens": torch.tensor(RNG.integers(0, 3, (BATCH, LENGTH))).float(),
    }[mask]
    expected = cross_entropy(LABELS, LOGITS, weights, smoothing)
    found = cross_entropy(LABELS, deferred(), weights, smoothing)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        close(found[key], value)


def leaves():
    return HIDDEN.clone().requires_grad_(), TABLE.clone().requires_grad_()


def summed(logits):
    loss = cross_entropy(LABELS, logits, None, 0.1)
    return (loss["per_example"] * torch.arange(LENGTH)).sum()


def test_the_gradients_are_those_of_the_tensor():
    expected, found = leaves(), leaves()
    summed(expected[0] @ expected[1].T).backward()
    summed(deferred(*found)).backward()
    for a, b in zip(found, expected, strict=True):
        close(a.grad, b.grad)


class Shapes(TorchDispatchMode):
    """Notes the number of elements of all results."""

    def __init__(self):
        super().__init__()
        self.sizes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        results = result if isinstance(result, list | tuple) else (result,)
        self.sizes |= {x.numel() for x in results if isinstance(x, torch.Tensor)}
        return result


def test_no_tensor_of_a_step_holds_all_logits():
    hidden, table = leaves()
    with Shapes() as seen:
        summed(deferred(hidden, table)).backward()
    assert BATCH * LENGTH // 4 * CLASSES in seen.sizes
    assert max(seen.sizes) < BATCH * LENGTH * CLASSES


def test_labels_that_are_distributions_are_compared_with_the_tensor():
    labels = torch.nn.functional.one_hot(LABELS, CLASSES).float()
    expected = cross_entropy(LABELS, LOGITS)["summed"]
    close(
        cross_entropy(labels, deferred())["summed"],
        expected,
    )


def test_bfloat16_is_computed_in_parts_and_returned_wide():
    with torch.autocast("cpu", torch.bfloat16):
        logits = deferred()
    assert logits.hidden.dtype == torch.bfloat16
    assert logits.dtype == logits.compute().dtype == torch.float32
    loss = cross_entropy(LABELS, logits)["per_example"]
    assert loss.dtype == torch.float32
    expected = cross_entropy(LABELS, LOGITS)["per_example"]
    np.testing.assert_allclose(loss, expected, rtol=0.05, atol=0.05)


def test_they_behave_as_the_tensor_that_they_stand_for():
    logits = deferred()
    assert logits.shape == LOGITS.shape and logits.ndim == 3
    assert logits.device == LOGITS.device
    close(np.asarray(logits), LOGITS)
    close(torch.softmax(logits, dim=-1), torch.softmax(LOGITS, dim=-1))
    close(torch.cat([logits, logits]), torch.cat([LOGITS, LOGITS]))
    close(logits[0, 1:], LOGITS[0, 1:])
    close(2 * logits - 1, 2 * LOGITS - 1)
    close(logits.flatten(0, 1).argmax(-1), LOGITS.flatten(0, 1).argmax(-1))
    labels = LABELS.flatten()
    cross_entropy = torch.nn.functional.cross_entropy
    close(
        cross_entropy(logits.flatten(0, 1), labels),
        cross_entropy(LOGITS.flatten(0, 1), labels),
    )
