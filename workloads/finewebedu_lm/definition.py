"""The `finewebedu_lm` workload: a decoder-only Transformer on FineWeb-Edu."""

from dataclasses import dataclass

from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only Transformer; one table embeds the tokens and is the output layer."""

    vocab_size: int = 50_257
    sequence_length: int = 1_024
    num_layers: int = 12
    embed_dim: int = 1_024
    num_heads: int = 8
    mlp_dim: int = 4_096
    rotary_base: float = 500_000.0


@dataclass(frozen=True)
class DataConfig:
    """What the prepared data must have been made with."""

    vocab_size: int = 50_257  # of the tokenizer
    sequence_length: int = 1_024  # tokens a model reads; a stored chunk has one more


_MINI_LIMITS = Limits(budget_seconds=300, step_hint=800)

# Numbers: version 1.0 of the published benchmark (February 2026).
DEFINITION = WorkloadDefinition(
    name="finewebedu_lm",
    title="FineWeb-Edu language model, decoder-only Transformer",
    dataset="fineweb_edu",
    # The published benchmark has no test split, and so no test target.
    target=Target("ppl", validation=22.2995, test=None, better="lower"),
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    # Chunks of text. Evaluated are 40 and 391 batches of 256; the published properties say
    # 10,000 and 100,000.
    splits=Splits(train=8_749_870, eval_train=10_240, validation=100_096, test=0),
    # The workload appeared in version 1.0; earlier rulesets know no limits for it.
    limits={"v1.0": Limits(budget_seconds=31_967, step_hint=72_000)},
    eval_period_seconds=2_571,
    eval_batch_size=256,
    default_batch_size=64,  # of the published baselines
    model=ModelConfig(),
    data=DataConfig(),
    default_dropout_rate=None,
    mini=Variant(
        target=Target(
            "ppl", validation=54.2909, test=48.6579, better="lower"
        ),  # see README.md
        model={
            "vocab_size": 1_024,
            "sequence_length": 128,
            "num_layers": 2,
            "embed_dim": 128,
            "num_heads": 4,
            "mlp_dim": 256,
        },
        data={"vocab_size": 1_024, "sequence_length": 128},
        fields={
            "title": "Novels of Jane Austen, small decoder-only Transformer",
            "splits": Splits(train=8_197, eval_train=16, validation=32, test=16),
            "limits": dict.fromkeys(("v0.5", "v0.6", "v1.0"), _MINI_LIMITS),
            "eval_period_seconds": 1.75,
            "eval_batch_size": 16,
            "default_batch_size": 16,
        },
    ),
)
