"""What the suite consists of: its workloads, its rounds, and what every baseline shares."""

import hashlib

from algoperf import registry
from algoperf.definition import WorkloadDefinition, in_steps
from algoperf.errors import BadSettings, UnknownName, near
from algoperf.rulesets import Ruleset, ruleset

RULESET = "v1.0"  # the first that has all nine base workloads
SEEDS = 3  # runs of every workload, each a round
MOST_SEEDS = 100
# Four of short runs, each of another kind.
QUICK = ("criteo1tb_mini", "ogbg_mini", "imagenet_vit_mini", "wmt_mini")
REFERENCE = "nadamw"  # what leaderboards are relative to


def rules() -> Ruleset:
    """The ruleset that the suite runs under."""
    return ruleset(RULESET)


def workloads() -> tuple[str, ...]:
    """The mini forms of the benchmark's base workloads, sorted.

    `mnist_mini` is none of them: its inputs, which are not scaled, suit no learning rate that
    the others do.
    """
    definitions = registry.definitions()
    return tuple(
        sorted(
            name
            for name, definition in definitions.items()
            if definition.tier == "mini"
            and definitions[definition.base_name].tier == "full"
        )
    )


def chosen(names: list[str] | None, *, is_quick: bool) -> tuple[str, ...]:
    """The workloads that somebody asks for; `BadSettings` for a choice that is none."""
    known = workloads()
    if names is None:
        return QUICK if is_quick else known
    if is_quick:
        raise BadSettings("--quick and --workloads both choose workloads. Give one.")
    for name in names:
        if name not in known:
            raise UnknownName(
                f"No workload of the suite is named {name!r}.{near(name, known)} Choose "
                f"from: {', '.join(known)}."
            )
    return tuple(dict.fromkeys(names))


def fingerprint(definition: WorkloadDefinition) -> str:
    """Short hash of all that steps to target depend on; runs of different ones do not compare.

    definition: as registered.
    """
    form = in_steps(definition)
    facts = (
        form.target,
        form.loss_type,
        form.splits,
        form.limits_of(rules()).step_hint,
        form.default_batch_size,
        form.model,
        form.data,
        form.default_dropout_rate,
        form.ignores_label_smoothing,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
