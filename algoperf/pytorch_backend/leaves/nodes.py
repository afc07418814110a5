"""The JSON half of a checkpoint: what `writing` makes of a tree and `reading` undoes.

A node is a dict with one entry, `{kind: what}` (a tensor's has two):

    {"value": 3}                          plain, as JSON has it
    {"float": "inf"}                      a float that JSON does not have
    {"tensor": path, "on": "device"}      an array; on the device or on the "cpu"
    {"numpy": path}, {"scalar": path}     a NumPy array or scalar
    {"dict": [[key, node], ...]}          pairs, because keys may be integers
    {"list": [node, ...]}                 any sequence; its type is the template's
    {"fields": [[name, node], ...]}       a dataclass
    {"state": node}                       the state of an object
    {"same": path}                        the object that was met there first
    {"constant": type}                    left out
"""

import collections
import enum
import types
from typing import Any

import torch

Node = dict[str, Any]

PLAIN = (type(None), bool, int, float, str)
SEQUENCES = list | tuple | collections.deque
CONSTANTS = torch.dtype | torch.device | enum.Enum | types.ModuleType


def join(path: str, key: Any) -> str:
    """The path of what `key` leads to; no two keys lead to the same."""
    if isinstance(key, str):
        name = key.replace("~", "~0").replace("/", "~1").replace("[", "~2")
    else:
        name = f"[{key!r}]"
    return f"{path}/{name}" if path else name
