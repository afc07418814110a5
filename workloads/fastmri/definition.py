"""The `fastmri` workload: MR images from a quarter of the measurements, with a U-Net."""

from dataclasses import dataclass
from typing import Literal

from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType

METRIC = "ssim"


@dataclass(frozen=True)
class ModelConfig:
    """A U-Net with `num_poolings` poolings; each doubles the number of channels."""

    num_channels: int = 32  # of the first block
    num_poolings: int = 4
    activation: Literal["leaky_relu", "tanh"] = "leaky_relu"
    # Of the conv blocks: each channel alone, or all of an example with an affine map.
    norm: Literal["instance", "layer"] = "instance"


@dataclass(frozen=True)
class DataConfig:
    """side: of the images. cache: whether processed slices are kept on disk.

    Batches are the same with and without the cache.
    """

    side: int = 320
    cache: bool = True


def _target(validation: float, test: float) -> Target:
    return Target(METRIC, validation=validation, test=test)


_MINI_LIMITS = Limits(budget_seconds=150, step_hint=600)

# Numbers: the published rules of versions 0.5, 0.6 and 1.0, and the benchmark paper (arXiv
# 2306.07179).
DEFINITION = WorkloadDefinition(
    name="fastmri",
    title="fastMRI knee single-coil, U-Net",
    dataset="fastmri",
    target=_target(0.723653, 0.740633),
    loss_type=LossType.MEAN_ABSOLUTE_ERROR,
    # Slices of 973, 100 and 99 volumes. 3,584 is 14 evaluation batches.
    splits=Splits(train=34_742, eval_train=3_584, validation=3_554, test=3_581),
    limits={
        "v0.5": Limits(budget_seconds=8_859, step_hint=36_189),
        "v0.6": Limits(budget_seconds=4_430, step_hint=18_094),
        "v1.0": Limits(budget_seconds=2_745, step_hint=18_094, eval_period_seconds=110),
    },
    eval_period_seconds=80,
    eval_batch_size=256,
    default_batch_size=32,  # of the published baseline
    model=ModelConfig(),
    data=DataConfig(),
    default_dropout_rate=0.0,
    ignores_label_smoothing=True,
    variants={
        "model_size": Variant(
            _target(0.723559, 0.740726), model={"num_channels": 64, "num_poolings": 3}
        ),
        "tanh": Variant(_target(0.717840, 0.734505), model={"activation": "tanh"}),
        "layernorm": Variant(_target(0.723284, 0.739996), model={"norm": "layer"}),
    },
    mini=Variant(
        target=_target(0.616123, 0.635836),  # see README.md
        model={"num_channels": 8, "num_poolings": 3},
        data={"side": 64},
        fields={
            "title": "simulated scans of a brain template, U-Net",
            "splits": Splits(train=1_008, eval_train=120, validation=120, test=120),
            "limits": dict.fromkeys(("v0.5", "v0.6", "v1.0"), _MINI_LIMITS),
            "eval_period_seconds": 10,
            "eval_batch_size": 60,
            "default_batch_size": 8,
        },
    ),
)
