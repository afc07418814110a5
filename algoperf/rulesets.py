"""The rules of the benchmark as values: runner, scorer and reports read every constant here.

`paper` follows arXiv 2306.07179; `v0.5` is the 2024 competition; `v0.6` the rolling leaderboard;
`v1.0` the version of February 2026, with nine base workloads.
"""

from dataclasses import dataclass
from typing import Literal

from algoperf.errors import UnknownName, near

TuningRuleset = Literal["external", "self"]
TUNING_RULESETS: tuple[TuningRuleset, ...] = ("external", "self")


@dataclass(frozen=True)
class Ruleset:
    """Every constant in which the published sets of rules differ."""

    name: str
    limits: str  # which column of a definition's `limits` holds budgets and step hints
    external_trials: int  # trials of one study under external tuning
    external_studies: int
    self_tuning_studies: int
    self_tuning_budget_factor: float  # multiplies the runtime budget
    scored_split: Literal[
        "validation", "test"
    ]  # whose target ends a study's scored time
    held_out: Literal["all_bases", "sampled_6", "none"]
    # Names of the variants that were drawn; empty: not drawn yet, or drawn by each organiser.
    drawn: tuple[str, ...] = ()
    prepare_for_eval: bool = True
    time_optimizer_init: bool = (
        True  # untimed in the published harness: invites pretraining
    )
    max_performance_ratio: float = 4.0

    def trials(self, tuning: TuningRuleset) -> int:
        """Trials of one study."""
        return self.external_trials if tuning == "external" else 1

    def studies(self, tuning: TuningRuleset) -> int:
        """Studies of one submission."""
        return (
            self.external_studies if tuning == "external" else self.self_tuning_studies
        )

    def budget_factor(self, tuning: TuningRuleset) -> float:
        """What the runtime budget of a definition is multiplied with."""
        return 1.0 if tuning == "external" else self.self_tuning_budget_factor


# Targets are set in three quarters of what submissions get: of the budget and of the steps.
TARGET_SETTING_FACTOR = 0.75

# Drawn after the submissions to the 2024 competition were frozen.
_DRAW_OF_2024 = (
    "criteo1tb_embed_init",
    "fastmri_tanh",
    "imagenet_resnet_large_bn_init",
    "librispeech_conformer_layernorm",
    "ogbg_model_size",
    "wmt_glu_tanh",
)

RULESETS = {
    ruleset.name: ruleset
    for ruleset in (
        Ruleset("paper", "v0.5", 20, 5, 5, 3.0, "test", "all_bases"),
        Ruleset("v0.5", "v0.5", 5, 5, 5, 3.0, "validation", "sampled_6", _DRAW_OF_2024),
        Ruleset("v0.6", "v0.6", 5, 3, 3, 1.5, "validation", "none"),
        Ruleset("v1.0", "v1.0", 5, 3, 3, 1.5, "validation", "none"),
    )
}
DEFAULT_RULESET = "paper"


def ruleset(name: str) -> Ruleset:
    """The ruleset of that name; an error that lists them all if there is none."""
    try:
        return RULESETS[name]
    except KeyError:
        raise UnknownName(
            f"No ruleset named {name!r}.{near(name, RULESETS)} Choose one of: "
            f"{', '.join(RULESETS)}."
        ) from None
