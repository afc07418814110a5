"""The `criteo1tb` workload: will an advertisement be clicked?"""

from dataclasses import dataclass
from typing import Literal

from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType

# 2^24: up to here float32, in which buckets are read, holds every integer.
EXACT_BUCKETS = 16_777_216


@dataclass(frozen=True)
class ModelConfig:
    """A deep learning recommendation model (DLRM); the defaults are DLRM-small."""

    vocab_size: int = 4_194_304  # rows of the one table of all categories
    embed_dim: int = 128
    bottom_dims: tuple[int, ...] = (512, 256, 128)  # widths of the MLP of the integers
    # Of the other MLP, without the output's width, 1.
    top_dims: tuple[int, ...] = (1_024, 1_024, 512, 256)
    # The table starts uniform in [0, scale); None: 1 / sqrt(num_embeddings).
    embed_init_scale: float | None = None
    # What the top reads beside the bottom's output: dot products of all pairs of
    # embeddings, or the embeddings themselves.
    interaction: Literal["dot", "concatenate"] = "dot"
    has_layer_norm: bool = False
    # Every hidden layer from the second on adds its output to its input.
    is_residual: bool = False


@dataclass(frozen=True)
class DataConfig:
    """What a batch holds, and the order of training rows."""

    # Buckets modulo 2^24 instead of rounded to float32. The published targets include
    # the rounding. Right for tables whose number of rows divides 2^24.
    exact_ids: bool = False
    # Training rows are shuffled in blocks of so many consecutive ones; None: in whole
    # files of 5,000,000 rows, as published. Targets were set without this.
    shuffle_block_rows: int | None = None


# The same for all rulesets.
_LIMITS = Limits(budget_seconds=7_703, step_hint=10_666)
_MINI_LIMITS = Limits(budget_seconds=20, step_hint=360)


def _loss_below(validation: float, test: float) -> Target:
    return Target("loss", validation=validation, test=test, better="lower")


# Targets, budgets and sizes: published rules and code of versions 0.5, 0.6 and 1.0.
DEFINITION = WorkloadDefinition(
    name="criteo1tb",
    title="Criteo 1TB click-through prediction, DLRM-small",
    dataset="criteo1tb",
    target=_loss_below(validation=0.123735, test=0.126041),
    loss_type=LossType.SIGMOID_CROSS_ENTROPY,
    splits=Splits(
        train=4_195_197_692,
        eval_train=83_361_792,  # 636 evaluation batches: validation, rounded up
        validation=83_274_637,
        test=95_000_000,
    ),
    limits={
        "v0.5": _LIMITS,
        "v0.6": _LIMITS,
        "v1.0": Limits(budget_seconds=8_915, step_hint=10_666, eval_period_seconds=356),
    },
    eval_period_seconds=120,
    # Published for JAX; its PyTorch version needed 8,192, because it copied the table
    # in every forward pass. Ours does not.
    eval_batch_size={"jax": 131_072, "pytorch": 131_072},
    default_batch_size=262_144,  # of the published baselines
    model=ModelConfig(),
    data=DataConfig(),
    default_dropout_rate=0.0,
    ignores_label_smoothing=True,
    cudnn_benchmark=False,  # as the published runner
    variants={
        "layernorm": Variant(
            target=_loss_below(validation=0.123757, test=0.126152),
            model={"has_layer_norm": True},
        ),
        "resnet": Variant(
            target=_loss_below(validation=0.12415, test=0.12648),
            model={
                "bottom_dims": (256, 256, 256),
                "top_dims": (256, 256, 256, 256),
                "interaction": "concatenate",
                "is_residual": True,
            },
        ),
        "embed_init": Variant(
            target=_loss_below(validation=0.129657, test=0.131967),
            model={"embed_init_scale": 1.0},
        ),
    },
    mini=Variant(
        target=_loss_below(validation=0.455705, test=0.44839),  # see README.md
        model={
            "vocab_size": 8_192,
            "embed_dim": 16,
            "bottom_dims": (64, 32, 16),
            "top_dims": (64, 64, 32, 16),
        },
        fields={
            "title": "Late flights as click logs, DLRM with a small table",
            "splits": Splits(
                train=92_252, eval_train=10_000, validation=10_000, test=10_000
            ),
            "limits": dict.fromkeys(("v0.5", "v0.6", "v1.0"), _MINI_LIMITS),
            "eval_period_seconds": 0.3,
            "eval_batch_size": 10_000,
            "default_batch_size": 256,
        },
    ),
)
