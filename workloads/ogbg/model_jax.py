"""The graph network in JAX, on jraph; `model_pytorch.py` defines the same function."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import linen as nn

from algoperf.datasets.ogbg.reader import EDGE_FEATURES, NODE_FEATURES
from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .data import GraphsTuple
from .definition import ModelConfig

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": functools.partial(nn.gelu, approximate=True),
    "silu": nn.silu,
}
_Embedding = functools.partial(layers.Dense, kernel_type=ParameterType.EMBEDDING)


class Mlp(nn.Module):
    """Groups of dense layer, LayerNorm, activation and dropout."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, inputs: tuple[jax.Array, ...], rate: Any) -> jax.Array:
        """inputs: arrays [rows, …], side by side; rate: dropout's."""
        x = jnp.concatenate(inputs, axis=-1)
        for i, width in enumerate(self.config.hidden_dims):
            x = layers.Dense(width, name=f"dense_{i}")(x)
            x = layers.LayerNorm(name=f"norm_{i}")(x)
            x = _ACTIVATIONS[self.config.activation](x)
            x = layers.Dropout()(x, rate, train=self.train)
        return x


class GraphNetwork(nn.Module):
    """Embedding, message passing without residuals, logits from the globals."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs: GraphsTuple, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: as of `data.GraphsTuple`; logits: [parts * graphs, tasks]."""
        # Parts know nothing of each other, so that devices exchange nothing here.
        network = nn.vmap(
            functools.partial(_of_one_part, train=train, rate=dropout_rate),
            variable_axes={"params": None},
            split_rngs={"params": False, "dropout": True},
        )
        logits = network(self, jraph.GraphsTuple(**inputs._asdict()))
        return logits.reshape(-1, self.config.num_tasks)


def _of_one_part(
    module: GraphNetwork, graphs: jraph.GraphsTuple, *, train: bool, rate: Any
) -> jax.Array:
    """Logits [graphs, tasks] of one part; makes its layers in `module`."""
    config = module.config

    def update(name: str) -> Callable[..., jax.Array]:
        mlp = Mlp(config, train, name=name)
        return lambda *inputs: mlp(inputs, rate)

    graphs = graphs._replace(
        nodes=_Embedding(config.embed_dim, name="node_embedding")(graphs.nodes),
        edges=_Embedding(config.embed_dim, name="edge_embedding")(graphs.edges),
    )
    for step in range(config.num_message_passing_steps):
        network = jraph.GraphNetwork(
            update_edge_fn=update(f"edges_{step}"),
            update_node_fn=update(f"nodes_{step}"),
            update_global_fn=update(f"globals_{step}"),
            aggregate_edges_for_nodes_fn=_segment_sum,
            aggregate_nodes_for_globals_fn=_segment_sum,
            aggregate_edges_for_globals_fn=_segment_sum,
        )
        graphs = network(graphs)
    return layers.Dense(config.num_tasks, name="output", is_output=True)(graphs.globals)


def _segment_sum(rows: jax.Array, segments: jax.Array, num_segments: int) -> jax.Array:
    """Sums of the rows of each segment; in float32 under bf16 too."""
    rows = layers.at_least_float32(rows)
    rows = jraph.segment_sum(rows, segments, num_segments)
    return rows


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return GraphNetwork(config)


def example_batch(config: ModelConfig) -> dict[str, Any]:
    """One part with a padding graph of one node, as from `data.open_batches`."""
    inputs = GraphsTuple(
        nodes=np.zeros((1, 1, NODE_FEATURES), np.float32),
        edges=np.zeros((1, 1, EDGE_FEATURES), np.float32),
        receivers=np.zeros((1, 1), np.int32),
        senders=np.zeros((1, 1), np.int32),
        globals=np.zeros((1, 1, config.num_tasks), np.float32),
        n_node=np.ones((1, 1), np.int32),
        n_edge=np.ones((1, 1), np.int32),
    )
    labels = np.zeros((1, config.num_tasks), np.float32)
    return {"inputs": inputs, "targets": labels, "weights": labels}
