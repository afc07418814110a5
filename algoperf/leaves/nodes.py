"""The structure of a state in JSON: a tree of nodes.

A plain value is its own node. Any other is an object `{"is": kind, …}`; `{"same": n}`
stands for the object whose node has `"#": n`.
"""

from typing import Any

Node = Any  # JSON
MISSING: Any = object()  # the template of what only the checkpoint has


def join(path: str, key: object) -> str:
    """The path of what `key` leads to; no two keys lead to the same."""
    if type(key) is str:
        name = key.replace("~", "~0").replace("/", "~1").replace("[", "~2")
    else:
        name = f"[{key!r}]"
    return f"{path}/{name}" if path else name


def kind_of(value: object) -> str:
    """The type of a value in words, for messages."""
    if value is MISSING:
        return "nothing"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"
