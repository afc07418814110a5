"""The JAX backend: one process, data parallel over all local devices.

Jobs of several JAX processes are out of scope: `num_processes` is 1, and a global batch
lies on this process's devices. Losses, layers, models and checkpoint leaves have
modules of their own.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import flax
import jax
import jax.extend.backend
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import optax

from algoperf import spec
from algoperf.backend import Arrays, MetricsModule, ModelModule
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSettings, near
from algoperf.jax_backend import leaves, losses, settings, sharding
from algoperf.jax_backend.model import BoundModel
from algoperf.jax_backend.probe import JaxProbe
from algoperf.probe import Objective, Probe
from algoperf.processes import OneProcess

PRECISIONS = {"float32": None, "bf16": jnp.bfloat16}  # name: layers' compute dtype
# TF32 where the GPU has it, as the benchmark's rules for both frameworks say.
MATMUL_PRECISION = "tensorfloat32"
# Compiling takes about 10 ms for each key of a group; a key costs 3 us in groups of 8, 1.5 us in
# groups of 64 (two CPU cores).
_KEYS_PER_DISPATCH = 8


def make_backend(*, precision: str = "float32") -> "JaxBackend":
    """The backend; sets JAX's matrix-product precision for the whole process.

    precision: "float32", or "bf16" for layers that compute in bfloat16 with float32
    parameters, losses and reductions.
    """
    if precision not in PRECISIONS:
        raise BadSettings(
            f"No precision named {precision!r}.{near(precision, PRECISIONS)} "
            f"Choose one of: {', '.join(PRECISIONS)}."
        )
    jax.config.update("jax_default_matmul_precision", MATMUL_PRECISION)
    return JaxBackend(precision)


class JaxBackend:
    """Implements `algoperf.backend.Backend`."""

    name = "jax"
    rank = 0
    num_processes = 1

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.num_devices = sharding.get_mesh().size
        self.processes = OneProcess()
        replicated = sharding.get_replicate_sharding()
        self._unstack = jax.jit(jnp.unstack, out_shardings=replicated)
        self._probe = jax.jit(jnp.negative, out_shardings=replicated)
        self._all_finite = jax.jit(_all_finite)

    def describe_devices(self) -> dict[str, Any]:
        """Devices, versions, and the settings that change results or speed.

        `device_memory_bytes` is that of one device, None where JAX does not know it.
        """
        device = sharding.get_mesh().devices.flat[0]
        memory = device.memory_stats() or {}
        return {
            "framework": "jax",
            "platform": device.platform,
            "device_kind": device.device_kind,
            "num_devices": self.num_devices,
            "device_memory_bytes": memory.get("bytes_limit"),
            "precision": self.precision,
            "matmul_precision": jax.config.values["jax_default_matmul_precision"],
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            "versions": {
                "jax": jax.__version__,
                "jaxlib": jaxlib.version.__version__,
                "flax": flax.__version__,
                "optax": optax.__version__,
                "numpy": np.__version__,
            },
        }

    def device_memory_bytes(self) -> int | None:
        """See `algoperf.backend.Backend`."""
        stats = [d.memory_stats() or {} for d in sharding.get_mesh().devices.flat]
        return max(
            (s["bytes_in_use"] for s in stats if "bytes_in_use" in s), default=None
        )

    def process_settings(self) -> dict[str, Any]:
        """See `algoperf.backend.Backend`."""
        return settings.that_change_evaluations()

    def warm_up(self) -> None:
        """See `algoperf.backend.Backend`: a compilation, an eager operation, a split key."""
        values = self.place({"x": np.zeros((self.num_devices, 1), np.float32)})["x"]
        gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 2)))
        key = jax.random.split(self.keys(np.zeros((1, 2), np.uint32))[0])[0]
        jax.block_until_ready((gradient(values), values + 1.0, key))

    def seed(self, seed: int) -> None:
        """See `algoperf.backend.Backend`: JAX has no global generator."""

    def rng_state(self) -> dict[str, np.ndarray]:
        """See `algoperf.backend.Backend`."""
        return {}

    def set_rng_state(self, state: Arrays) -> None:
        """See `algoperf.backend.Backend`."""

    def keys(self, numbers: np.ndarray) -> Sequence[spec.RandomState]:
        """Raw keys, uint32 [2] and replicated, from uint32 [n, 2].

        They are split from one array in groups of a fixed size, by one dispatch each: a
        few microseconds a key, and one compilation whatever n is.
        """
        numbers = np.asarray(numbers, np.uint32)
        keys: list[jax.Array] = []
        for first in range(0, len(numbers), _KEYS_PER_DISPATCH):
            group = np.zeros((_KEYS_PER_DISPATCH, 2), np.uint32)
            rows = numbers[first : first + _KEYS_PER_DISPATCH]
            group[: len(rows)] = rows
            keys.extend(self._unstack(group)[: len(rows)])
        return keys

    def place(self, batch: Arrays) -> spec.Batch:
        """The batch with the first axis of every array cut over the devices.

        A value may be a nested structure (tuple, NamedTuple) of arrays. Safe to call
        from several threads at once.
        """
        placed: dict[str, Any] = sharding.shard_along_batch_dim(dict(batch))
        return placed

    def bind(
        self, definition: WorkloadDefinition, model: ModelModule, metrics: MetricsModule
    ) -> BoundModel:
        """See `algoperf.backend.Backend.bind`; `model` says what model files define."""
        return BoundModel(
            definition, model, metrics, compute_dtype=PRECISIONS[self.precision]
        )

    def output_activation(self, loss_type: spec.LossType, logits: Any) -> Any:
        """See `losses.output_activation`."""
        return losses.output_activation(loss_type, logits)

    def synchronize(self, *trees: Any) -> None:
        """Waits for `trees` and for all else that was enqueued, returned to us or not.

        Every live array is awaited, callbacks with effects too, and last a computation
        that each device can only run after those whose results nobody kept.
        """
        waiting = [x for x in jax.tree.leaves(trees) if isinstance(x, jax.Array)]
        for platform in jax.extend.backend.backends():
            waiting.extend(jax.live_arrays(platform))
        for array in waiting:
            _wait(array)
        jax.effects_barrier()
        jax.block_until_ready(self._probe(np.zeros((), np.int32)))

    def probe(self, objective: Objective) -> Probe:
        """See `algoperf.backend.Backend`."""
        return JaxProbe(objective)

    def is_finite(self, params: Any) -> bool:
        """Whether every parameter is finite; synchronises."""
        return bool(self._all_finite(params))

    def to_leaves(self, tree: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See `leaves.to_leaves`."""
        return leaves.to_leaves(tree)

    def from_leaves(
        self, template: Any, arrays: Arrays, rest: Mapping[str, Any]
    ) -> Any:
        """See `leaves.from_leaves`."""
        return leaves.from_leaves(template, arrays, rest)

    def close(self) -> None:
        """Nothing to release."""


def _wait(array: jax.Array) -> None:
    """Waits for an array, unless it was deleted or donated, perhaps while we look."""
    try:
        if not array.is_deleted():
            array.block_until_ready()
    except RuntimeError:
        if not array.is_deleted():
            raise


def _all_finite(tree: Any) -> jax.Array:
    finite = [
        jnp.isfinite(leaf).all()
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.asarray(finite, bool).all()
