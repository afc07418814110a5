"""The vision transformer: positions, blocks against PyTorch's own, dropout, start."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from algoperf.workloads.imagenet_vit.definition import ModelConfig
from algoperf.workloads.imagenet_vit.positions import sin_cos_positions
from tests.closeness import FLOAT32_SHORT, assert_close

TINY = ModelConfig(
    image_size=16,
    patch_size=8,
    num_classes=5,
    embed_dim=16,
    num_layers=1,
    mlp_dim=24,
    num_heads=2,
)


def test_positions_are_sines_and_cosines_of_column_then_row():
    positions = sin_cos_positions(3, 5, 384)
    assert (positions.shape, positions.dtype) == ((15, 384), np.float32)
    y, x = 2, 4
    for k in (0, 1, 50, 95):
        angle = 10_000 ** (-k / 95)
        waves = [math.sin(x * angle), math.cos(x * angle)]
        waves += [math.sin(y * angle), math.cos(y * angle)]
        found = positions[y * 5 + x, k::96]
        assert_close(found, waves, tolerance=FLOAT32_SHORT)


def pytorch_model(config=TINY):
    pytest.importorskip("torch")
    from algoperf.pytorch_backend.model import initialise
    from algoperf.workloads.imagenet_vit import model_pytorch

    module = model_pytorch.build(config)
    initialise(module, np.array([0, 1]))
    return module


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_is_the_encoder_layer_of_pytorch(norm):
    torch = pytest.importorskip("torch")
    block = pytorch_model(dataclasses.replace(TINY, norm_position=norm)).block_0
    gelu = functools.partial(torch.nn.functional.gelu, approximate="tanh")
    peer = torch.nn.TransformerEncoderLayer(
        TINY.embed_dim,
        TINY.num_heads,
        TINY.mlp_dim,
        dropout=0.0,
        activation=gelu,
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=norm == "pre",
    )
    attention, mlp = block.attention, block.mlp
    parts = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        for part in (*block.parameters(),):
            part.normal_(0.1, 0.5)
    peer.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
            "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
            "self_attn.out_proj.weight": attention.out.weight,
            "self_attn.out_proj.bias": attention.out.bias,
            "linear1.weight": mlp.hidden.weight,
            "linear1.bias": mlp.hidden.bias,
            "linear2.weight": mlp.output.weight,
            "linear2.bias": mlp.output.bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.mlp_norm.weight,
            "norm2.bias": block.mlp_norm.bias,
        }
    )
    x = torch.randn(3, 4, TINY.embed_dim)
    assert_close(block(x), peer(x))


def test_the_gate_multiplies_the_activated_layer():
    torch = pytest.importorskip("torch")
    mlp = pytorch_model(dataclasses.replace(TINY, is_gated=True)).block_0.mlp
    x = torch.randn(2, 4, TINY.embed_dim)
    hidden = torch.nn.functional.gelu(mlp.hidden(x), approximate="tanh")
    expected = mlp.output(hidden * mlp.gate(hidden))
    assert_close(mlp(x), expected, tolerance=FLOAT32_SHORT)


def test_the_probe_starts_within_the_limit_of_a_row_vector():
    config = dataclasses.replace(TINY, pooling="attention", embed_dim=64)
    probe = pytorch_model(config).pooling.probe
    limit = math.sqrt(6 / (1 + config.embed_dim))
    assert 0.8 * limit < probe.abs().max().item() <= limit


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_dropout_is_after_positions_attention_and_inside_and_after_each_mlp(pooling):
    config = dataclasses.replace(TINY, num_layers=2, pooling=pooling)
    module = pytorch_model(config)
    from algoperf.pytorch_backend.dropout import Dropout

    sites = [n for n, part in module.named_modules() if isinstance(part, Dropout)]
    blocks = [
        f"block_{i}.{site}"
        for i in range(2)
        for site in ("attention_dropout", "mlp.dropout", "mlp_dropout")
    ]
    assert sorted(sites) == sorted(["dropout", *blocks])


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_jax_drops_at_as_many_sites(pooling, monkeypatch):
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    from algoperf.jax_backend import layers
    from algoperf.workloads.imagenet_vit import model_jax

    shapes = []
    monkeypatch.setattr(
        layers, "dropout", lambda x, *_, **__: shapes.append(x.shape) or x
    )
    module = model_jax.build(dataclasses.replace(TINY, pooling=pooling))
    call = functools.partial(module.init, train=True, dropout_rate=0.5)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    jax.eval_shape(call, keys, np.zeros((3, 16, 16, 3), np.float32))
    tokens, hidden = (3, 4, TINY.embed_dim), (3, 4, TINY.mlp_dim)
    assert shapes == [tokens, tokens, hidden, tokens]


def test_the_first_logits_are_zero():
    torch = pytest.importorskip("torch")
    assert not pytorch_model()(torch.randn(2, 16, 16, 3)).any()
