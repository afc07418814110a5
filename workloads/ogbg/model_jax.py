"""The graph network in JAX; `model_pytorch.py` defines the same function.

Message passing is that of jraph's `GraphNetwork`: edges, then nodes, then globals, each by
what it reads. Products are made before rows are read by index: there are fewer of them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
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


_LECUN_NORMAL = nn.initializers.lecun_normal()
_ZEROS = nn.initializers.zeros_init()
Rows = tuple[jax.Array, ...]  # each [rows, …]
# Arrays [sources, …], and for each row the source that it reads, int [rows].
Reads = tuple[tuple[jax.Array, jax.Array], ...]


class ReadingDense(nn.Module):
    """A dense layer of rows and, side by side with them, of what they read by index."""

    features: int

    @nn.compact
    def __call__(self, rows: Rows, reads: Reads) -> jax.Array:
        """[rows, features], at least float32: the products are summed in it."""
        x = jnp.concatenate(rows, axis=-1)
        widths = [x.shape[-1], *(source.shape[-1] for source, _ in reads)]
        kernel = self.param(
            "kernel",
            layers.typed(_LECUN_NORMAL, ParameterType.WEIGHT),
            (sum(widths), self.features),
        )
        bias = self.param(
            "bias", layers.typed(_ZEROS, ParameterType.BIAS), (self.features,)
        )
        own, *others = jnp.split(kernel, np.cumsum(widths)[:-1])
        y: jax.Array = _product(x, own) + bias
        for (source, index), part in zip(reads, others, strict=True):
            y = y + _product(source, part)[index]
        return y


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """In the dtype that models compute in; the result is at least float32."""
    dtype = layers.compute_dtype() or jnp.promote_types(x.dtype, kernel.dtype)
    wide = jnp.promote_types(dtype, jnp.float32)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    return jnp.matmul(x, kernel, preferred_element_type=wide)


class Mlp(nn.Module):
    """Groups of dense layer, LayerNorm, activation and dropout."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, rows: Rows, reads: Reads, rate: Any) -> jax.Array:
        """rows, reads: the inputs, see `ReadingDense`; rate: dropout's."""
        inputs: tuple[Any, ...] = (rows, reads)
        for i, width in enumerate(self.config.hidden_dims):
            dense = layers.Dense if i else ReadingDense
            x: jax.Array = dense(width, name=f"dense_{i}")(*inputs)
            x = layers.LayerNorm(name=f"norm_{i}")(x)
            x = _ACTIVATIONS[self.config.activation](x)
            x = layers.Dropout()(x, rate, train=self.train)
            inputs = (x,)
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
        logits = network(self, inputs)
        return logits.reshape(-1, self.config.num_tasks)


def _of_one_part(
    module: GraphNetwork, inputs: GraphsTuple, *, train: bool, rate: Any
) -> jax.Array:
    """Logits [graphs, tasks] of one part; makes its layers in `module`."""
    config = module.config
    senders, receivers = inputs.senders, inputs.receivers
    nodes = _Embedding(config.embed_dim, name="node_embedding")(inputs.nodes)
    edges = _Embedding(config.embed_dim, name="edge_embedding")(inputs.edges)
    graphs = inputs.globals
    node_graph = _owners(inputs.n_node, len(nodes))
    edge_graph = _owners(inputs.n_edge, len(edges))
    for step in range(config.num_message_passing_steps):
        reads = (nodes, senders), (nodes, receivers), (graphs, edge_graph)
        edges = Mlp(config, train, name=f"edges_{step}")((edges,), reads, rate)
        sent = _segment_sum(edges, senders, len(nodes))
        received = _segment_sum(edges, receivers, len(nodes))
        update = Mlp(config, train, name=f"nodes_{step}")
        nodes = update((nodes, sent, received), ((graphs, node_graph),), rate)
        node_sums = _segment_sum(nodes, node_graph, len(graphs))
        edge_sums = _segment_sum(edges, edge_graph, len(graphs))
        update = Mlp(config, train, name=f"globals_{step}")
        graphs = update((node_sums, edge_sums, graphs), (), rate)
    return layers.Dense(config.num_tasks, name="output", is_output=True)(graphs)


def _owners(counts: jax.Array, total: int) -> jax.Array:
    """For each of `total` rows the graph it belongs to; counts add up to `total`."""
    return jnp.repeat(jnp.arange(len(counts)), counts, total_repeat_length=total)


def _segment_sum(rows: jax.Array, segments: jax.Array, num_segments: int) -> jax.Array:
    """Sums of the rows of each segment; in float32 under bf16 too."""
    rows = layers.at_least_float32(rows)
    return jax.ops.segment_sum(rows, segments, num_segments)


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
