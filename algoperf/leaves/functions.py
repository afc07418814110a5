"""Functions that have no name of their own: their code by name, and what they hold."""

import sys
import types
from typing import Any

from algoperf.leaves.names import digest_of, find_code
from algoperf.leaves.nodes import Node


def parts_of(function: types.FunctionType) -> tuple[Node, dict[str, list[Any]]]:
    """The node of a function but for what it holds, and that."""
    code = function.__code__
    node: Node = {
        "is": "function",
        "module": function.__globals__.get("__name__", ""),
        "code": code.co_qualname,
        "digest": digest_of(code),
        "name": function.__qualname__,
    }
    held = {
        "cells": [_content(cell) for cell in function.__closure__ or ()],
        "defaults": [function.__defaults__, function.__kwdefaults__],
        "attributes": [vars(function)],
    }
    return node, held


class _Empty:
    """In a cell whose variable has no value yet."""


EMPTY = _Empty()


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


def has_known_code(node: Node) -> bool:
    """Whether the function can be made again without a template."""
    return _code(node) is not None


def _code(node: Node) -> types.CodeType | None:
    return find_code(node["module"], node["code"], node["digest"])


def is_same_code(node: Node, template: object) -> bool:
    """Whether `template` is a function of the same code."""
    return (
        type(template) is types.FunctionType
        and digest_of(template.__code__) == node["digest"]
        and template.__code__.co_qualname == node["code"]
    )


def new_function(node: Node) -> types.FunctionType | None:
    """The function with empty cells; None if its code is not where it was."""
    code = _code(node)
    if code is None:
        return None
    cells = tuple(types.CellType() for _ in node["cells"])
    module = sys.modules[node["module"]]
    function = types.FunctionType(code, vars(module), code.co_name, None, cells)
    function.__qualname__ = node["name"]
    return function


def fill(function: types.FunctionType, cells: list[Any]) -> None:
    """Gives each cell its content, where that is another than it has."""
    for cell, content in zip(function.__closure__ or (), cells, strict=True):
        if content is EMPTY:
            continue
        if _content(cell) is not content:
            cell.cell_contents = content


def constant_name(value: object) -> str:
    """What tells one constant of a type from another; "" where nothing does."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return name if isinstance(name, str) else ""
