"""Layers: padding, initial moments, shapes and types; dropout."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from algoperf.errors import BadSubmission  # noqa: E402
from algoperf.pytorch_backend import initializers, layers, rng  # noqa: E402
from algoperf.pytorch_backend.dropout import Dropout, configure  # noqa: E402
from algoperf.spec import ParameterType  # noqa: E402
from tests.closeness import FLOAT32_SHORT, assert_close  # noqa: E402

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def filled(layer, seed=0):
    with torch.no_grad():
        layer.reset_parameters(generator(seed))
    return layer


def dropout(x, rate, key=(1, 2), **options):
    rate = torch.tensor(rate, dtype=torch.float32)
    key = torch.as_tensor(key, dtype=torch.int32)
    return layers.dropout(x, rate, key, **options)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "expected"),
    [
        (224, 7, 2, 1, [2, 3]),
        (56, 3, 1, 1, [1, 1]),
        (56, 1, 2, 1, [0, 0]),
        (5, 2, 1, 1, [0, 1]),
        (7, 3, 1, 2, [2, 2]),
        (6, 3, 2, 1, [0, 1]),
    ],
)
def test_same_padding_follows_jax(size, kernel, stride, dilation, expected):
    assert layers.same_padding(size, kernel, stride, dilation) == expected


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "groups"),
    [((8, 9), (3, 2), 2, 1), ((7, 7), (3, 3), 1, 2), ((6, 5), (4, 3), (3, 1), 1)],
)
def test_conv2d_equals_jax(size, kernel, stride, groups):
    jax = pytest.importorskip("jax")
    layer = filled(layers.Conv2d(4, 6, kernel, stride=stride, groups=groups))
    x = torch.randn(2, 4, *size, generator=generator())
    strides = (stride, stride) if isinstance(stride, int) else stride
    expected = jax.lax.conv_general_dilated(
        x.numpy(),
        layer.weight.detach().numpy(),
        strides,
        "SAME",
        feature_group_count=groups,
    )
    assert_close(layer(x).detach(), expected, tolerance=FLOAT32_SHORT)


@pytest.mark.parametrize(("padding", "rows"), [("VALID", 6), ((1, 2), 8)])
def test_conv2d_takes_other_paddings(padding, rows):
    layer = filled(layers.Conv2d(1, 1, 3, padding=padding))
    assert layer(torch.zeros(1, 1, 8, 8)).shape[2] == rows


@pytest.mark.parametrize(
    ("layer", "variance"),
    [
        (layers.Linear(400, 500), 1 / 400),
        (layers.Conv2d(40, 500, (3, 3)), 1 / 360),
        (layers.Conv2d(400, 400, 3, groups=10), 1 / 360),
        (layers.Embedding(1000, 200), 1 / 200),
    ],
)
def test_weights_have_mean_0_and_the_variance_of_flax(layer, variance):
    weight = filled(layer).weight.detach()
    standard_error = math.sqrt(variance / weight.numel())
    assert abs(weight.mean()) < 5 * standard_error
    assert weight.var() == pytest.approx(variance, rel=0.02)


def test_lecun_normal_ends_at_two_raw_standard_deviations():
    weight = filled(layers.Linear(400, 500)).weight
    bound = 2 * math.sqrt(1 / 400) / 0.87962566103423978
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound


@pytest.mark.parametrize(
    ("initializer", "low", "high"),
    [
        (initializers.xavier_uniform(), -math.sqrt(0.1), math.sqrt(0.1)),
        (initializers.uniform(0.0, 0.5), 0.0, 0.5),
    ],
)
def test_uniform_initializers_fill_their_range(initializer, low, high):
    tensor = torch.empty(20_000)
    initializer(tensor, generator(), 20, 40)
    assert low <= tensor.min() < low + 0.01
    assert high - 0.01 < tensor.max() <= high


def test_biases_start_at_0_and_scales_at_1():
    linear, norm = filled(layers.Linear(3, 4)), filled(layers.LayerNorm(4))
    assert torch.equal(linear.bias, torch.zeros(4))
    assert torch.equal(norm.bias, torch.zeros(4))
    assert torch.equal(norm.weight, torch.ones(4))


def test_layers_type_their_parameters():
    types = {
        name: layers.parameter_type(parameter)
        for layer in (
            layers.Linear(2, 2),
            layers.Conv2d(2, 2, 3),
            layers.LayerNorm(2),
            layers.Embedding(2, 2),
        )
        for name, parameter in (
            (f"{type(layer).__name__}.{name}", p)
            for name, p in layer.named_parameters()
        )
    }
    assert types == {
        "Linear.weight": ParameterType.WEIGHT,
        "Linear.bias": ParameterType.BIAS,
        "Conv2d.weight": ParameterType.CONV_WEIGHT,
        "Conv2d.bias": ParameterType.BIAS,
        "LayerNorm.weight": ParameterType.LAYER_NORM_SCALE,
        "LayerNorm.bias": ParameterType.LAYER_NORM_BIAS,
        "Embedding.weight": ParameterType.EMBEDDING,
    }


def test_layer_norm_has_the_epsilon_of_flax():
    x = torch.tensor([[0.0, 2e-3]])
    expected = functional.layer_norm(x, [2], eps=1e-6)
    assert torch.equal(filled(layers.LayerNorm(2))(x), expected)


def test_dropout_at_rate_0_is_the_identity():
    x = torch.randn(100, generator=generator())
    assert torch.equal(dropout(x, 0.0), x)


def test_dropout_at_rate_1_gives_zeros_and_finite_gradients():
    x = torch.randn(100, generator=generator()).requires_grad_()
    y = dropout(x, 1.0)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(100))
    assert torch.equal(x.grad, torch.zeros(100))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expected_share_and_the_mean(rate):
    y = dropout(torch.ones(200_000), rate)
    deviation = math.sqrt(rate * (1 - rate) / 200_000)
    assert (y == 0).float().mean() == pytest.approx(rate, abs=5 * deviation)
    assert y.mean() == pytest.approx(1.0, abs=5 * deviation / (1 - rate))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_masks_are_uncorrelated_between_sites_steps_and_neighbours(rate):
    num, keys = 100_000, [rng.dropout_keys([step, 7], 4) for step in range(4)]
    dropped = torch.stack(
        [dropout(torch.ones(num), rate, key) for key in torch.cat(keys)]
    )
    normal = (dropped - 1) * math.sqrt((1 - rate) / rate)
    between = normal @ normal.T / num
    neighbours = (normal[:, 1:] * normal[:, :-1]).mean(dim=1)
    assert neighbours.abs().max() < 5 / math.sqrt(num)
    assert between.fill_diagonal_(0).abs().max() < 5 / math.sqrt(num)


def test_dropout_masks_of_two_processes_are_the_halves_of_one():
    x = torch.ones(8, 6)
    halves = [dropout(x[:4], 0.5, rank=rank) for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), dropout(x, 0.5))


def test_dropout_of_whole_channels_shares_the_mask():
    y = dropout(torch.ones(8, 16, 5, 5), 0.5, broadcast_dims=(2, 3))
    assert torch.equal(y, y[:, :, :1, :1].expand_as(y))
    assert 0 < (y[:, :, 0, 0] == 0).sum() < 128


def test_dropout_keeps_bfloat16():
    assert dropout(torch.ones(4, dtype=torch.bfloat16), 0.5).dtype == torch.bfloat16


def test_dropout_gradients_are_its_mask():
    x = torch.ones(100, requires_grad=True)
    y = dropout(x, 0.25)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_layers_of_one_model_have_different_masks():
    model = torch.nn.Sequential(Dropout(), Dropout())
    configure(model, 0.5, np.array([1, 2]), rank=0, device=CPU)
    x = torch.ones(100)
    assert not torch.equal(model[0](x), model[1](x))


def test_an_rng_that_is_none_is_refused_in_words():
    with pytest.raises(BadSubmission, match="two integers"):
        rng.generator(None)


def test_an_rng_gives_the_same_generator_as_numpy_list_or_tensor():
    states = [
        rng.generator(number).get_state()
        for number in (np.array([3, 4], np.uint32), [3, 4], torch.tensor([3, 4]))
    ]
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
