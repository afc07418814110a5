"""The graph network in PyTorch; `model_jax.py` defines the same function.

Sums over nodes and edges are `index_add`s, and so are the gradients of what is read by
index. On a GPU their order, and so the last bits, differ from run to run, unless
`torch.use_deterministic_algorithms(True)` is set.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from algoperf.datasets.ogbg.reader import EDGE_FEATURES, NODE_FEATURES
from algoperf.pytorch_backend import layers
from algoperf.spec import ParameterType

from .data import GraphsTuple
from .definition import ModelConfig

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functools.partial(functional.gelu, approximate="tanh"),
    "silu": functional.silu,
}
_Embedding = functools.partial(layers.Linear, weight_type=ParameterType.EMBEDDING)


Rows = tuple[Tensor, ...]  # each [rows, …]
# Tensors [sources, …], and for each row the source that it reads, int [rows].
Reads = tuple[tuple[Tensor, Tensor], ...]


class ReadingLinear(layers.Linear):
    """A linear layer of rows and, side by side with them, of what they read by index.

    Products are made before rows are read by index: there are fewer of them.
    """

    def forward(self, rows: Rows, reads: Reads) -> Tensor:  # type: ignore[override]
        """[rows, features], at least float32: the products are summed in it."""
        x = torch.cat(rows, dim=-1)
        widths = [x.shape[-1], *(source.shape[-1] for source, _ in reads)]
        own, *others = self.weight.split(widths, dim=1)
        y = _wide(functional.linear(x, own, self.bias))
        for (source, index), part in zip(reads, others, strict=True):
            y = y + _wide(functional.linear(source, part)).index_select(0, index)
        return y


def _wide(x: Tensor) -> Tensor:
    """As float32; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Mlp(nn.Module):
    """Groups of dense layer, LayerNorm, activation and dropout."""

    def __init__(self, in_features: int, config: ModelConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.activation]
        self.depth = len(config.hidden_dims)
        for i, width in enumerate(config.hidden_dims):
            linear = layers.Linear if i else ReadingLinear
            self.add_module(f"dense_{i}", linear(in_features, width))
            self.add_module(f"norm_{i}", layers.LayerNorm(width))
            self.add_module(f"dropout_{i}", layers.Dropout())
            in_features = width

    def forward(self, rows: Rows, reads: Reads = ()) -> Tensor:
        """rows, reads: the inputs, see `ReadingLinear`."""
        inputs: tuple[Any, ...] = (rows, reads)
        for i in range(self.depth):
            x: Tensor = self.get_submodule(f"dense_{i}")(*inputs)
            x = self.get_submodule(f"norm_{i}")(x)
            x = self.get_submodule(f"dropout_{i}")(self.activation(x))
            inputs = (x,)
        return x


class GraphNetwork(nn.Module):
    """Embedding, message passing without residuals, logits from the globals."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.steps = config.num_message_passing_steps
        self.node_embedding = _Embedding(NODE_FEATURES, config.embed_dim)
        self.edge_embedding = _Embedding(EDGE_FEATURES, config.embed_dim)
        width, graph_width = config.embed_dim, config.num_tasks
        hidden = config.hidden_dims[-1]
        for step in range(config.num_message_passing_steps):
            # Inputs: edge, both nodes, graph; node, both sums of new edges, graph; sums
            # of new nodes and of new edges, graph.
            edges = Mlp(3 * width + graph_width, config)
            nodes = Mlp(width + 2 * hidden + graph_width, config)
            graphs = Mlp(2 * hidden + graph_width, config)
            self.add_module(f"edges_{step}", edges)
            self.add_module(f"nodes_{step}", nodes)
            self.add_module(f"globals_{step}", graphs)
            width = graph_width = hidden
        self.output = layers.Linear(graph_width, config.num_tasks, is_output=True)

    def forward(self, inputs: GraphsTuple) -> Tensor:
        """inputs: as of `data.GraphsTuple`; logits: [parts * graphs, tasks]."""
        num_nodes = inputs.nodes.shape[1]
        senders = _flat_indices(inputs.senders, num_nodes)  # [parts * edges]
        receivers = _flat_indices(inputs.receivers, num_nodes)
        nodes = self.node_embedding(inputs.nodes.flatten(0, 1))  # [parts * nodes, …]
        edges = self.edge_embedding(inputs.edges.flatten(0, 1))  # [parts * edges, …]
        graphs = inputs.globals.flatten(0, 1)  # [parts * graphs, …]
        node_graph = _owners(inputs.n_node, len(nodes))
        edge_graph = _owners(inputs.n_edge, len(edges))
        for step in range(self.steps):
            reads = (nodes, senders), (nodes, receivers), (graphs, edge_graph)
            edges = self.get_submodule(f"edges_{step}")((edges,), reads)
            sent = _segment_sum(edges, senders, len(nodes))
            received = _segment_sum(edges, receivers, len(nodes))
            rows = nodes, sent, received
            nodes = self.get_submodule(f"nodes_{step}")(rows, ((graphs, node_graph),))
            node_sums = _segment_sum(nodes, node_graph, len(graphs))
            edge_sums = _segment_sum(edges, edge_graph, len(graphs))
            rows = node_sums, edge_sums, graphs
            graphs = self.get_submodule(f"globals_{step}")(rows)
        logits: Tensor = self.output(graphs)
        return logits


def _flat_indices(indices: Tensor, size: int) -> Tensor:
    """Indices into parts [parts, n] as indices into all parts together [parts * n]."""
    first = torch.arange(len(indices), device=indices.device) * size
    return (indices + first[:, None]).flatten()


def _owners(counts: Tensor, total: int) -> Tensor:
    """For each of `total` rows the graph it belongs to; counts add up to `total`."""
    ends = counts.flatten().cumsum(0)
    rows = torch.arange(total, device=counts.device)
    return torch.searchsorted(ends, rows, right=True)


def _segment_sum(rows: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """Sums of the rows of each segment; in float32 under bf16 too."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    sums = rows.new_zeros((num_segments, rows.shape[-1]))
    return sums.index_add(0, segments, rows)


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return GraphNetwork(config)
