"""What differs between two states that were taken apart."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from algoperf.leaves.nodes import Node, join

Leaves = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]


def differences(first: Leaves, second: Leaves) -> list[str]:
    """A sentence for each array and each place in the structure that differs in a bit."""
    found = list(_in_arrays(first[0], second[0]))
    found += _in_nodes(first[1].get("tree"), second[1].get("tree"), "")
    return list(dict.fromkeys(found))


def _in_arrays(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> Iterator[str]:
    for name in sorted({*first, *second}):
        if name not in second or name not in first:
            yield f"{name}: only one of the two has it"
        elif first[name].shape != second[name].shape:
            shapes = f"{list(first[name].shape)} and {list(second[name].shape)}"
            yield f"{name}: shape differs: {shapes}"
        elif first[name].dtype != second[name].dtype:
            yield f"{name}: type differs: {first[name].dtype}, {second[name].dtype}"
        elif first[name].tobytes() != second[name].tobytes():
            yield f"{name}: value differs"


def _in_nodes(first: Node, second: Node, path: str) -> Iterator[str]:
    if first == second:
        return
    if not (isinstance(first, dict) and isinstance(second, dict)):
        yield f"{path}: value differs: {_short(first)} and {_short(second)}"
        return
    kinds = [(n.get("is"), n.get("type")) for n in (first, second)]
    if kinds[0] != kinds[1]:
        yield f"{path}: type differs: {_kind(first)} and {_kind(second)}"
        return
    found = list(_in_parts(first, second, path))
    yield from found or [f"{path}: {_kind(first)} differs"]


def _in_parts(first: Node, second: Node, path: str) -> Iterator[str]:
    for part in ("items", "attributes"):
        ours, theirs = first.get(part) or [], second.get(part) or []
        if len(ours) != len(theirs):
            yield f"{path}: {_kind(first)} has {len(ours)} and {len(theirs)} members"
            continue
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            is_pair = part == "attributes" or first.get("is") == "mapping"
            if not is_pair:
                yield from _in_nodes(one, other, join(path, number))
            elif one[0] != other[0]:
                yield f"{path}: key differs: {_short(one[0])} and {_short(other[0])}"
            else:
                key = one[0] if isinstance(one[0], str | int) else number
                yield from _in_nodes(one[1], other[1], join(path, key))
    for part in ("cells", "self", "of", "state", "grad"):
        if first.get(part) != second.get(part):
            yield f"{path}: {part} differs"


def _kind(node: Node) -> str:
    if not isinstance(node, dict):
        return type(node).__name__
    return str(node.get("type") or node.get("is", "object"))


def _short(node: Node) -> str:
    text = _kind(node) if isinstance(node, dict | list) else repr(node)
    return text if len(text) <= 40 else f"{text[:37]}..."
