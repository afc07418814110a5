"""The `librispeech_conformer` workload: speech to text, with a Conformer."""

from dataclasses import dataclass, field
from typing import Literal

from algoperf.datasets.librispeech.config import DataConfig
from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType

from .._speech.spec_augment import SpecAugment


@dataclass(frozen=True)
class ModelConfig:
    """`blocks` of feed-forward, attention, convolution and feed-forward layers."""

    vocabulary: int = 1_024
    width: int = 512
    blocks: int = 4
    heads: int = 8
    feed_forward_width: int = 2_048
    kernel: int = 5  # frames of the depthwise convolution
    subsampling_channels: int = 512
    activation: Literal["swish", "gelu"] = "swish"
    attention_temperature: float = 1.0  # a factor of attention's output
    has_block_norm: bool = True  # a layer norm at the end of each block
    batch_norm_momentum: float = 0.999
    spec_augment: SpecAugment = field(default_factory=SpecAugment)


def _target(validation: float, test: float) -> Target:
    return Target("wer", validation=validation, test=test, better="lower")


_MINI_LIMITS = Limits(budget_seconds=300, step_hint=600)

# Numbers: the published rules of versions 0.5 and 0.6, and the benchmark paper (arXiv
# 2306.07179). The word error rate is in the published units: see README.md.
DEFINITION = WorkloadDefinition(
    name="librispeech_conformer",
    title="LibriSpeech speech recognition, Conformer",
    dataset="librispeech",
    target=_target(0.085884, 0.052981),
    loss_type=LossType.CTC_LOSS,
    splits=Splits(train=263_840, eval_train=5_376, validation=5_348, test=2_472),
    limits={
        "v0.5": Limits(budget_seconds=61_068, step_hint=80_000),
        "v0.6": Limits(budget_seconds=58_015, step_hint=76_000),
    },
    eval_period_seconds=1_440,
    eval_batch_size=256,
    default_batch_size=256,  # of the published baseline
    model=ModelConfig(),
    data=DataConfig(),
    default_dropout_rate=0.1,
    ignores_label_smoothing=True,
    variants={
        "attention_temperature": Variant(
            _target(0.109977, 0.068065), model={"attention_temperature": 1.6}
        ),
        "layernorm": Variant(
            _target(0.09731, 0.05996), model={"has_block_norm": False}
        ),
        "gelu": Variant(_target(0.094114, 0.056629), model={"activation": "gelu"}),
    },
    mini=Variant(
        target=_target(0.3, 0.28),  # see README.md
        model={
            "vocabulary": 48,
            "width": 96,
            "blocks": 2,
            "heads": 4,
            "feed_forward_width": 192,
            "subsampling_channels": 16,
            # A short run has no 1,000 steps for running statistics to settle in.
            "batch_norm_momentum": 0.9,
            "spec_augment": SpecAugment(
                time_masks=1, frequency_masks=1, max_frequency_bins=5
            ),
        },
        data={"max_samples": 40_000, "max_tokens": 32, "vocab_size": 48},
        fields={
            "title": "1,200 spoken phone prompts, Conformer",
            "splits": Splits(train=1_200, eval_train=160, validation=160, test=160),
            "limits": {"v0.5": _MINI_LIMITS, "v0.6": _MINI_LIMITS},
            "eval_period_seconds": 10,
            "eval_batch_size": 160,
            "default_batch_size": 32,
        },
    ),
)
