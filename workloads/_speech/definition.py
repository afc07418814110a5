"""What the definitions of both speech workloads share: data, batches, loss, metric.

Numbers: the published rules of versions 0.5, 0.6 and 1.0, and the benchmark paper (arXiv
2306.07179). The word error rate is in the published units: see the README.md beside this file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from algoperf.datasets.librispeech.tokenizer import SMALL_VOCABULARY_SIZE
from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType

from .config import DataConfig
from .spec_augment import SpecAugment


@dataclass(frozen=True)
class SpeechConfig:
    """What the configurations of both models have."""

    vocab_size: int = 1_024
    embed_dim: int = 512  # features of each layer's input
    num_subsampling_channels: int = 512
    batch_norm_momentum: float = 0.999
    spec_augment: SpecAugment = field(default_factory=SpecAugment)


def target(validation: float, test: float) -> Target:
    """A word error rate on each split."""
    return Target("wer", validation=validation, test=test, better="lower")


def speech(**fields: Any) -> WorkloadDefinition:
    """The definition of a workload on LibriSpeech; fields: what is its own."""
    return WorkloadDefinition(
        dataset="librispeech",
        packages=("rapidfuzz", "sentencepiece"),
        loss_type=LossType.CTC_LOSS,
        splits=Splits(train=263_840, eval_train=5_376, validation=5_348, test=2_472),
        eval_period_seconds=1_440,
        eval_batch_size=256,
        default_batch_size=256,  # of the published baseline
        data=DataConfig(),
        default_dropout_rate=0.1,
        ignores_label_smoothing=True,
        **fields,
    )


def mini(
    title: str, target: Target, limits: Limits, model: Mapping[str, Any]
) -> Variant:
    """The laptop form, on the shipped speech; model: fields of the model's config."""
    return Variant(
        target=target,
        model={
            "vocab_size": SMALL_VOCABULARY_SIZE,
            # A short run has no 1,000 steps for running statistics to settle in.
            "batch_norm_momentum": 0.9,
            "spec_augment": SpecAugment(
                time_masks=1, frequency_masks=1, max_frequency_bins=5
            ),
            **model,
        },
        data={
            "max_samples": 32_000,
            "max_tokens": 24,
            "vocab_size": SMALL_VOCABULARY_SIZE,
        },
        fields={
            "title": title,
            "splits": Splits(train=1_200, eval_train=160, validation=160, test=160),
            "limits": dict.fromkeys(("v0.5", "v0.6", "v1.0"), limits),
            "eval_period_seconds": 10,
            "eval_batch_size": 160,
            "default_batch_size": 16,
        },
    )
