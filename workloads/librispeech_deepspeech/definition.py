"""The `librispeech_deepspeech` workload: speech to text, with a recurrent network."""

from dataclasses import dataclass
from typing import Literal

from algoperf.definition import Limits, Variant

from .._speech.definition import SpeechConfig, mini, speech, target
from .._speech.spec_augment import SpecAugment


@dataclass(frozen=True)
class ModelConfig(SpeechConfig):
    """Bidirectional LSTM layers, then feed-forward layers."""

    num_lstm_layers: int = 6
    num_mlp_layers: int = 3
    activation: Literal["relu", "tanh"] = "relu"  # not of the LSTMs
    is_residual: bool = True
    # Batch norm in front of each layer and layer norm in front of the output layer; or
    # layer norm in front of each layer but the output layer.
    norm: Literal["batch", "layer"] = "batch"

    @property
    def lstm_dim(self) -> int:
        """Features of an LSTM in each direction."""
        return self.embed_dim // 2


DEFINITION = speech(
    name="librispeech_deepspeech",
    title="LibriSpeech speech recognition, DeepSpeech-like LSTM",
    target=target(0.119936, 0.074143),
    limits={
        "v0.5": Limits(budget_seconds=55_506, step_hint=48_000),
        "v0.6": Limits(budget_seconds=44_405, step_hint=38_400),
        "v1.0": Limits(
            budget_seconds=36_949, step_hint=38_400, eval_period_seconds=1_447
        ),
    },
    model=ModelConfig(),
    # At each of an LSTM's steps threads wait for each other. If they spin meanwhile, and
    # the cores have other work too, a step takes seconds.
    environment={"pytorch": {"OMP_WAIT_POLICY": "passive"}},
    variants={
        "tanh": Variant(target(0.150883, 0.098613), model={"activation": "tanh"}),
        "no_resnet": Variant(target(0.131564, 0.079297), model={"is_residual": False}),
        "norm_and_spec_aug": Variant(
            target(0.14342, 0.090976),
            model={
                "norm": "layer",
                "spec_augment": SpecAugment(time_masks=15, frequency_masks=4),
            },
            fields={"eval_batch_size": 128},
        ),
    },
    mini=mini(
        "1,200 spoken phone prompts, DeepSpeech-like LSTM",
        target(0.0218878, 0.0103245),  # see README.md
        Limits(budget_seconds=120, step_hint=700),
        {
            "embed_dim": 96,
            "num_lstm_layers": 2,
            "num_mlp_layers": 1,
            "num_subsampling_channels": 8,
        },
    ),
)
