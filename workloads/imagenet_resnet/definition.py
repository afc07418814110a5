"""The `imagenet_resnet` workload: ImageNet images, ResNet-50."""

from dataclasses import dataclass
from typing import Literal

from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType

from .._imagenet.config import ENVIRONMENT, MEAN, STDDEV, DataConfig

EXPANSION = 4  # channels of a block, in multiples of its width


@dataclass(frozen=True)
class ModelConfig:
    """A residual network of bottleneck blocks; the defaults are ResNet-50."""

    image_size: int = 224  # height and width, pixels
    num_classes: int = 1_000
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)  # number of blocks
    # Of the stem and the first stage's blocks; doubles in each stage.
    num_channels: int = 64
    activation: Literal["relu", "silu", "gelu"] = "relu"  # GELU: tanh approximation
    last_scale_init: float = 0.0  # of the last batch norm of each block
    # Largest number of examples that are normalised together. The paper's was a
    # device's part of a batch of 1,024 on 8 devices.
    virtual_batch_size: int = 128


def _target(validation: float, test: float) -> Target:
    return Target("accuracy", validation=validation, test=test)


_MINI_LIMITS = Limits(budget_seconds=180, step_hint=1_200)

# Numbers: the published rules of versions 0.5, 0.6 and 1.0, and the benchmark paper (arXiv
# 2306.07179). Published targets are error rates: accuracies are 1 less those.
DEFINITION = WorkloadDefinition(
    name="imagenet_resnet",
    title="ImageNet images, ResNet-50",
    dataset="imagenet",
    packages=("simplejpeg",),
    target=_target(1 - 0.22569, 1 - 0.3440),
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    splits=Splits(
        train=1_281_167,
        eval_train=50_176,  # 49 evaluation batches: validation, rounded up
        validation=50_000,
        test=10_000,  # ImageNet-v2, matched frequency
    ),
    limits={
        "v0.5": Limits(budget_seconds=63_008, step_hint=186_666),
        "v0.6": Limits(budget_seconds=66_159, step_hint=195_999),
        "v1.0": Limits(
            budget_seconds=49_918, step_hint=195_999, eval_period_seconds=1_996
        ),
    },
    eval_period_seconds=510,
    eval_batch_size=1_024,
    # Of the published baseline; 512 in its SiLU and GELU variants.
    default_batch_size=1_024,
    model=ModelConfig(),
    data=DataConfig(),
    train_mean=MEAN,
    train_stddev=STDDEV,
    environment=ENVIRONMENT,
    variants={
        "silu": Variant(
            target=_target(1 - 0.24555, 1 - 0.3677),
            model={"activation": "silu"},
            fields={"default_batch_size": 512},
        ),
        "gelu": Variant(
            target=_target(0.76765, 0.6519),
            model={"activation": "gelu"},
            fields={"default_batch_size": 512},
        ),
        "large_bn_init": Variant(
            target=_target(0.76526, 0.6423), model={"last_scale_init": 8.0}
        ),
    },
    mini=Variant(
        target=_target(1_102 / 1_216, 1_091 / 1_216),  # see README.md
        model={
            "image_size": 32,
            "num_classes": 19,
            "stage_sizes": (1, 1),
            "num_channels": 16,
            "virtual_batch_size": 32,
        },
        data={"image_size": 32, "resize_size": 36, "num_classes": 19},
        fields={
            "title": "Crops of 19 photographs, small ResNet",
            "splits": Splits(train=3_040, eval_train=608, validation=1_216, test=1_216),
            "limits": dict.fromkeys(("v0.5", "v0.6", "v1.0"), _MINI_LIMITS),
            "eval_period_seconds": 3,
            "eval_batch_size": 608,
            "default_batch_size": 64,
        },
    ),
)
