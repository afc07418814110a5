"""Generators of random numbers of Python and NumPy: their states, and back."""

import random
from typing import Any

import numpy as np

KINDS = (
    random.Random,
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    np.random.SeedSequence,
)


def state_of(value: Any) -> dict[str, Any]:
    """What makes an equal generator: tuples, dicts, numbers, arrays."""
    if isinstance(value, random.Random):
        return {"kind": "Random", "state": random.Random.getstate(value)}
    if isinstance(value, np.random.SeedSequence):
        return {"kind": "SeedSequence", "state": _seeds(value)}
    if isinstance(value, np.random.RandomState):
        state = value.get_state(legacy=False)
        return {"kind": "RandomState", "state": state}
    is_bits = isinstance(value, np.random.BitGenerator)
    bits = value if is_bits else value.bit_generator
    return {
        "kind": "BitGenerator" if is_bits else "Generator",
        "bits": type(bits).__name__,
        "state": bits.state,
        "seeds": _seeds(bits.seed_seq) if bits.seed_seq is not None else None,
    }


def _seeds(seeds: object) -> dict[str, Any] | None:
    if not isinstance(seeds, np.random.SeedSequence):
        return None
    return {
        "entropy": seeds.entropy,
        "spawn_key": tuple(seeds.spawn_key),
        "pool_size": seeds.pool_size,
        "n_children_spawned": seeds.n_children_spawned,
    }


def generator_of(found: dict[str, Any]) -> Any:
    """An equal generator."""
    kind, state = found["kind"], found["state"]
    if kind == "SeedSequence":
        return np.random.SeedSequence(**state)
    if kind == "Random":
        generator = random.Random()
        generator.setstate(state)
        return generator
    if kind == "RandomState":
        old = np.random.RandomState(_bits(state["bit_generator"], None, state))
        old.set_state(state)
        return old
    bits = _bits(found["bits"], found["seeds"], state)
    return bits if kind == "BitGenerator" else np.random.Generator(bits)


def _bits(name: str, seeds: dict[str, Any] | None, state: dict[str, Any]) -> Any:
    kind = getattr(np.random, name)
    bits = kind(np.random.SeedSequence(**seeds) if seeds else 0)
    bits.state = {key: state[key] for key in bits.state}
    return bits


def restore_into(generator: Any, found: dict[str, Any]) -> bool:
    """Puts a state into a generator of the same kind; False if another must be made."""
    now = state_of(generator)
    if now["kind"] != found["kind"] or now.get("bits") != found.get("bits"):
        return False
    if now["kind"] == "SeedSequence" or now.get("seeds") != found.get("seeds"):
        return False
    if now["kind"] == "Random":
        generator.setstate(found["state"])
    elif now["kind"] == "RandomState":
        generator.set_state(found["state"])
    elif now["kind"] == "BitGenerator":
        generator.state = found["state"]
    else:
        generator.bit_generator.state = found["state"]
    return True
