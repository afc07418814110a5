"""The `librispeech_conformer` workload: speech to text, with a Conformer."""

from dataclasses import dataclass
from typing import Literal

from algoperf.definition import Limits, Variant

from .._speech.definition import SpeechConfig, mini, speech, target


@dataclass(frozen=True)
class ModelConfig(SpeechConfig):
    """`num_layers` blocks of feed-forward, attention, convolution and feed-forward."""

    num_layers: int = 4
    num_heads: int = 8
    mlp_dim: int = 2_048
    kernel_size: int = 5  # frames of the depthwise convolution
    activation: Literal["swish", "gelu"] = "swish"
    attention_temperature: float = 1.0  # a factor of attention's output
    has_block_norm: bool = True  # a layer norm at the end of each block


DEFINITION = speech(
    name="librispeech_conformer",
    title="LibriSpeech speech recognition, Conformer",
    target=target(0.085884, 0.052981),
    limits={
        "v0.5": Limits(budget_seconds=61_068, step_hint=80_000),
        "v0.6": Limits(budget_seconds=58_015, step_hint=76_000),
        "v1.0": Limits(
            budget_seconds=43_680, step_hint=76_000, eval_period_seconds=1_747
        ),
    },
    model=ModelConfig(),
    # As the published runner, for whose memory it was too much.
    cudnn_benchmark=False,
    variants={
        "attention_temperature": Variant(
            target(0.109977, 0.068065), model={"attention_temperature": 1.6}
        ),
        "layernorm": Variant(target(0.09731, 0.05996), model={"has_block_norm": False}),
        "gelu": Variant(target(0.094114, 0.056629), model={"activation": "gelu"}),
    },
    mini=mini(
        "1,200 spoken phone prompts, Conformer",
        target(0.123119, 0.157817),  # see README.md
        Limits(budget_seconds=150, step_hint=700),
        {
            "embed_dim": 128,
            "num_layers": 1,
            "num_heads": 4,
            "mlp_dim": 128,
            "kernel_size": 15,
            "num_subsampling_channels": 16,
        },
    ),
)
