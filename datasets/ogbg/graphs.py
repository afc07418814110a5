"""Graphs one after the other, as raw files hold them, and what is packed of them."""

from dataclasses import dataclass

import numpy as np

from .reader import EDGE, Molecules


@dataclass(frozen=True)
class Graphs:
    """Graphs, one after the other, with bonds in one direction."""

    nodes: np.ndarray  # uint8 [nodes, 9]
    bonds: np.ndarray  # uint16 [bonds, 2]
    bond_features: np.ndarray  # uint8 [bonds, 3]
    labels: np.ndarray  # uint8 [graphs, 128]
    num_nodes: np.ndarray  # int64 [graphs]
    num_bonds: np.ndarray  # int64 [graphs]

    def packed(self, graphs: np.ndarray) -> Molecules:
        """The chosen graphs, with bonds in both directions."""
        node_starts, bond_starts = _starts(self.num_nodes), _starts(self.num_bonds)
        num_nodes, num_bonds = self.num_nodes[graphs], self.num_bonds[graphs]
        nodes = _ranges(node_starts[graphs], num_nodes)
        # Each graph's bonds twice; the second time from receiver to sender.
        bonds = _ranges(np.repeat(bond_starts[graphs], 2), np.repeat(num_bonds, 2))
        turn = np.tile([False, True], len(graphs))
        turned = np.repeat(turn, np.repeat(num_bonds, 2))
        ends = self.bonds[bonds]
        edges = np.zeros(len(bonds), EDGE)
        edges["sender"] = np.where(turned, ends[:, 1], ends[:, 0])
        edges["receiver"] = np.where(turned, ends[:, 0], ends[:, 1])
        edges["features"] = self.bond_features[bonds]
        return Molecules(
            nodes=self.nodes[nodes],
            edges=edges,
            labels=self.labels[graphs],
            node_offsets=np.append(_starts(num_nodes), len(nodes)),
            edge_offsets=np.append(_starts(2 * num_bonds), len(bonds)),
        )


def _starts(lengths: np.ndarray) -> np.ndarray:
    starts: np.ndarray = np.cumsum(lengths) - lengths
    return starts


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … for each range, one after the other: int64."""
    shifts = np.repeat(starts - _starts(lengths), lengths)
    return shifts + np.arange(len(shifts))
