"""The `librispeech_deepspeech` workload: speech to text, with a recurrent network."""

from dataclasses import dataclass, field
from typing import Literal

from algoperf.datasets.librispeech.config import DataConfig
from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType

from .._speech.spec_augment import SpecAugment


@dataclass(frozen=True)
class ModelConfig:
    """Bidirectional LSTM layers, then feed-forward layers, of width 2 * `hidden`."""

    vocabulary: int = 1_024
    hidden: int = 256  # of an LSTM, in each direction
    lstm_layers: int = 6
    feed_forward_layers: int = 3
    subsampling_channels: int = 512
    activation: Literal["relu", "tanh"] = "relu"  # not of the LSTMs
    is_residual: bool = True
    # Batch norm in front of each layer and layer norm in front of the output layer; or
    # layer norm in front of each layer but the output layer.
    norm: Literal["batch", "layer"] = "batch"
    batch_norm_momentum: float = 0.999
    spec_augment: SpecAugment = field(default_factory=SpecAugment)

    @property
    def width(self) -> int:
        """Features of each layer but the last."""
        return 2 * self.hidden


def _target(validation: float, test: float) -> Target:
    return Target("wer", validation=validation, test=test, better="lower")


_MINI_LIMITS = Limits(budget_seconds=300, step_hint=400)

# Numbers: the published rules of versions 0.5 and 0.6, and the benchmark paper (arXiv
# 2306.07179). The word error rate is in the published units: see README.md.
DEFINITION = WorkloadDefinition(
    name="librispeech_deepspeech",
    title="LibriSpeech speech recognition, DeepSpeech-like LSTM",
    dataset="librispeech",
    target=_target(0.119936, 0.074143),
    loss_type=LossType.CTC_LOSS,
    splits=Splits(train=263_840, eval_train=5_376, validation=5_348, test=2_472),
    limits={
        "v0.5": Limits(budget_seconds=55_506, step_hint=48_000),
        "v0.6": Limits(budget_seconds=44_405, step_hint=38_400),
    },
    eval_period_seconds=1_440,
    eval_batch_size=256,
    default_batch_size=256,  # of the published baseline
    model=ModelConfig(),
    data=DataConfig(),
    default_dropout_rate=0.1,
    ignores_label_smoothing=True,
    variants={
        "tanh": Variant(_target(0.150883, 0.098613), model={"activation": "tanh"}),
        "no_resnet": Variant(_target(0.131564, 0.079297), model={"is_residual": False}),
        "norm_and_spec_aug": Variant(
            _target(0.14342, 0.090976),
            model={
                "norm": "layer",
                "spec_augment": SpecAugment(time_masks=15, frequency_masks=4),
            },
            fields={"eval_batch_size": 128},
        ),
    },
    mini=Variant(
        target=_target(0.05, 0.03),  # see README.md
        model={
            "vocabulary": 48,
            "hidden": 48,
            "lstm_layers": 2,
            "feed_forward_layers": 1,
            "subsampling_channels": 8,
            # A short run has no 1,000 steps for running statistics to settle in.
            "batch_norm_momentum": 0.9,
            "spec_augment": SpecAugment(
                time_masks=1, frequency_masks=1, max_frequency_bins=5
            ),
        },
        data={"max_samples": 40_000, "max_tokens": 32, "vocab_size": 48},
        fields={
            "title": "1,200 spoken phone prompts, DeepSpeech-like LSTM",
            "splits": Splits(train=1_200, eval_train=160, validation=160, test=160),
            "limits": {"v0.5": _MINI_LIMITS, "v0.6": _MINI_LIMITS},
            "eval_period_seconds": 10,
            "eval_batch_size": 160,
            "default_batch_size": 32,
        },
    ),
)
