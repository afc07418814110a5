"""The ResNet: layers written out by hand, initial scales, ghost batch norm."""

import dataclasses

import numpy as np
import pytest

from algoperf import registry
from algoperf.workloads.imagenet_resnet.definition import ModelConfig
from tests.closeness import FLOAT32_SHORT, assert_close

TINY = ModelConfig(
    image_size=32,
    num_classes=5,
    stage_sizes=(1, 1),
    num_channels=4,
    virtual_batch_size=4,
)


def pytorch_model(config=TINY):
    pytest.importorskip("torch")
    from algoperf.pytorch_backend.model import initialise
    from algoperf.workloads.imagenet_resnet import model_pytorch

    module = model_pytorch.build(config)
    initialise(module, np.array([0, 1]))
    return module


def logits_by_hand(tensors, inputs):
    """The tiny model in evaluation mode, from its parameters and statistics."""
    from torch.nn import functional as f

    def norm(name, x):
        mean, var = (tensors[f"{name}.running_{part}"] for part in ("mean", "var"))
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return f.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def block(name, x, stride):
        def conv(part, x, **options):
            return f.conv2d(x, tensors[f"{name}.{part}.weight"], **options)

        y = f.relu(norm(f"{name}.norm_1", conv("conv_1", x)))
        # "Same": at stride 2 on even sizes nothing before, one zero after.
        y = f.pad(y, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        y = f.relu(norm(f"{name}.norm_2", conv("conv_2", y, stride=stride)))
        y = norm(f"{name}.norm_3", conv("conv_3", y))
        x = norm(f"{name}.shortcut_norm", conv("shortcut_conv", x, stride=stride))
        return f.relu(x + y)

    x = inputs.permute(0, 3, 1, 2).contiguous()
    x = f.conv2d(x, tensors["stem_conv.weight"], stride=2, padding=3)
    x = f.max_pool2d(f.relu(norm("stem_norm", x)), 3, 2, 1)
    x = block("stage_1_block_0", block("stage_0_block_0", x, 1), 2)
    return f.linear(x.mean((2, 3)), tensors["output.weight"], tensors["output.bias"])


def test_the_pytorch_model_is_the_network_written_by_hand():
    torch = pytest.importorskip("torch")
    module = pytorch_model().eval()
    tensors = module.state_dict()
    for tensor in tensors.values():
        is_matrix = tensor.ndim > 1
        tensor.uniform_(-0.5, 0.5) if is_matrix else tensor.uniform_(0.5, 1.5)
    inputs = torch.randn(2, 32, 32, 3)
    expected = logits_by_hand(tensors, inputs)
    assert_close(module(inputs), expected)


@pytest.mark.parametrize(
    ("name", "last"), [("imagenet_resnet", 0.0), ("imagenet_resnet_large_bn_init", 8.0)]
)
def test_scales_start_at_one_but_the_last_of_each_block(name, last):
    last_scale = registry.definition(name).model.last_scale_init
    module = pytorch_model(dataclasses.replace(TINY, last_scale_init=last_scale))
    for parameter_name, parameter in module.named_parameters():
        if "norm" in parameter_name and parameter_name.endswith("weight"):
            expected = last if ".norm_3." in parameter_name else 1.0
            assert (parameter == expected).all(), parameter_name


def test_jax_starts_with_the_same_scales():
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    from flax.core import meta

    from algoperf.workloads.imagenet_resnet import model_jax

    module = model_jax.build(dataclasses.replace(TINY, last_scale_init=8.0))
    inputs = np.zeros((1, 8, 8, 3), np.float32)
    init = jax.jit(
        lambda key: module.init(key, inputs, train=False, dropout_rate=0.0),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    block = meta.unbox(init(jax.random.key(0)))["params"]["stage_1_block_0"]
    assert (block["norm_3"]["scale"] == 8.0).all()
    for name in ("norm_1", "norm_2", "shortcut_norm"):
        assert (block[name]["scale"] == 1.0).all()


def test_examples_of_another_virtual_batch_change_nothing():
    torch = pytest.importorskip("torch")
    module = pytorch_model().train()
    inputs = torch.randn(8, 32, 32, 3)
    changed = torch.cat([inputs[:4], 3 * inputs[4:] + 1])
    before, after = module(inputs), module(changed)
    assert_close(before[:4], after[:4], tolerance=FLOAT32_SHORT)
    assert not torch.allclose(before[4:], after[4:])
