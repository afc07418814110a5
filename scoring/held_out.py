"""Which variants are held out: a draw from a public seed that anyone can repeat.

For each base workload, the SHA-256 digest of the UTF-8 text `<seed>:<base>` is read as
one big number; its remainder by the number of variants is the place of the drawn
variant among the variants' full names in alphabetical order. Where only six bases have
a held-out workload (v0.5), these are the six bases with the smallest digests of
`<seed>:bases:<base>`.
"""

import hashlib
from collections.abc import Mapping, Sequence

from algoperf import registry
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.rulesets import Ruleset

_SAMPLED_BASES = 6


def draw(seed: str, variants: Mapping[str, Sequence[str]], rules: Ruleset) -> list[str]:
    """The held-out workloads, sorted; a pure function of its arguments.

    variants: full names of the variants (`wmt_post_ln`) by base workload. The order in
    which they are listed does not matter. Bases without variants have nothing to draw.
    """
    if not seed.strip():
        raise BadSettings(
            "The seed of the draw is empty. Use a text that nobody can choose after "
            "the submissions are frozen, and publish it."
        )
    if rules.held_out == "none":
        return []
    bases = sorted(base for base in variants if variants[base])
    if rules.held_out == "sampled_6":
        bases.sort(key=lambda base: _digest(f"{seed}:bases:{base}"))
        bases = bases[:_SAMPLED_BASES]
    return sorted(_drawn(seed, base, variants[base]) for base in bases)


def draw_from_registry(seed: str, rules: Ruleset) -> list[str]:
    """The draw over the variants of all full base workloads that are defined."""
    variants = {
        name: [f"{name}_{variant}" for variant in base.variants]
        for name, base in registry.base_definitions().items()
        if base.tier == "full"
    }
    if not variants:
        raise AlgoPerfError(
            "No full base workloads are installed: nothing to draw from."
        )
    return draw(seed, variants, rules)


def _drawn(seed: str, base: str, variants: Sequence[str]) -> str:
    ordered = sorted(variants)
    return ordered[_digest(f"{seed}:{base}") % len(ordered)]


def _digest(text: str) -> int:
    return int.from_bytes(
        hashlib.sha256(text.encode(errors="surrogateescape")).digest(), "big"
    )
