"""Submissions written for published versions of the API: their names, and what has changed.

API 0.5 called the package `algorithmic_efficiency`; submissions may go on doing so. What else a
submission for 0.5 does and 0.6 does not know is recognised here, with what to do instead.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import algoperf
from algoperf.errors import near
from algoperf.loading.places import ALIAS, BENCHMARK

PUBLIC = ("spec", "jax_sharding_utils", "pytorch_utils")

_NO_DEVICE_AXIS = "parameters and batches have no leading device axis any more"
# Names of API 0.5's time, and of the JAX of its time: what to use now.
_REPLACEMENTS = {
    "jax.pmap": f"use jax.jit; {_NO_DEVICE_AXIS}",
    "jax.device_put_replicated": "use algoperf.jax_sharding_utils.replicate",
    "jax.device_put_sharded": "use algoperf.jax_sharding_utils.shard_along_batch_dim",
    "jax.lax.pmean": "leave it out under jax.jit: sums over the batch span all devices",
    "jax.lax.psum": "leave it out under jax.jit: sums over the batch span all devices",
    "jax.tree_map": "use jax.tree.map",
    "jax.tree_multimap": "use jax.tree.map",
    "jax.tree_leaves": "use jax.tree.leaves",
    "jax.tree_flatten": "use jax.tree.flatten",
    "jax.tree_unflatten": "use jax.tree.unflatten",
    "jax.tree_structure": "use jax.tree.structure",
    "jax.tree_transpose": "use jax.tree.transpose",
    "jax.tree_util.tree_multimap": "use jax.tree.map",
    "jax.random.KeyArray": "use algoperf.spec.RandomState",
    "jax.xla_computation": "use jax.jit(…).lower(…)",
    "jax.experimental.maps": "use jax.jit and algoperf.jax_sharding_utils",
    "jax.experimental.pjit": "use jax.jit with in_shardings and out_shardings",
    "flax.jax_utils": f"leave it out; {_NO_DEVICE_AXIS}",
    "flax.optim": "use optax",
    "jax.experimental.optimizers": "use optax",
}
# These exist in API 0.6 too, inside of jax.shard_map; alone they say nothing.
_ONLY_BESIDE_PMAP = ("jax.lax.pmean", "jax.lax.psum")


@dataclass(frozen=True)
class Outdated:
    """A place in a file that was written for API 0.5."""

    path: Path
    line: int
    name: str
    remedy: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.name}: {self.remedy}"


def outdated(path: Path, tree: ast.Module) -> list[Outdated]:
    """What a file uses that API 0.5 had and 0.6 has not, in the order of its lines."""
    found: dict[str, Outdated] = {}
    for line, name in _full_names(tree):
        if name in _REPLACEMENTS:
            found.setdefault(name, Outdated(path, line, name, _REPLACEMENTS[name]))
    if "jax.pmap" not in found:
        for name in _ONLY_BESIDE_PMAP:
            found.pop(name, None)
    return sorted(found.values(), key=lambda place: place.line)


def advice(places: list[Outdated]) -> str:
    """` It is written for API 0.5: …`, or nothing."""
    if not places:
        return ""
    return (
        f" {places[0].path.name} is written for API 0.5; what has changed since: "
        f"{'; '.join(map(str, places))}."
    )


def _full_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Dotted names that are imported, or used as attributes of what was imported."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
                first = alias.name.partition(".")[0]
                bound[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield node.lineno, name
                yield node.lineno, node.module or ""
                bound[alias.asname or alias.name] = name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root in bound:
                yield node.lineno, f"{bound[root]}.{rest}"


def unknown_names(module: str, taken: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What an import asks of the benchmark and does not get: (name, reason)."""
    package, *rest = module.split(".")
    if rest:
        if not _has_module(package, rest):
            yield module, reason_for(package, rest)
        return
    for name in taken:
        is_attribute = hasattr(algoperf, name) and package == BENCHMARK
        if name != "*" and not is_attribute and not _has_module(package, [name]):
            yield f"{package}.{name}", reason_for(package, [name])


def _has_module(package: str, parts: list[str]) -> bool:
    if package == ALIAS:
        return len(parts) == 1 and parts[0] in PUBLIC
    base = Path(algoperf.__file__).parent.joinpath(*parts)
    return base.is_dir() or base.with_name(base.name + ".py").is_file()


def reason_for(package: str, parts: list[str]) -> str:
    """Why `algoperf.x` or `algorithmic_efficiency.x` does not exist, and what does."""
    public = ", ".join(f"algoperf.{name}" for name in PUBLIC)
    origin = "is a name of API 0.5, and " if package == ALIAS else ""
    return (
        f"{package}.{'.'.join(parts)} {origin}does not exist here."
        f"{near(parts[0], PUBLIC)} Submissions may import {public}; models, losses and data "
        "are handed over as `workload`"
    )
