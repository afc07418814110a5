"""Objects that keep their state to themselves: taking it out, putting it back.

Modules, optimizers, schedulers and whatever else has `state_dict` and
`load_state_dict`, and the random generators of PyTorch and NumPy.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from algoperf.pytorch_backend.distributed import unwrap


def is_stateful(value: Any) -> bool:
    """Whether `get_state` and `set_state` can handle `value`."""
    if isinstance(value, torch.Generator | np.random.Generator):
        return True
    if isinstance(value, type):
        return False
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def own_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters and buffers themselves, by their names in the state."""
    module = unwrap(module)
    yield from module.named_parameters()
    yield from module.named_buffers()


def get_state(value: Any) -> Any:
    """Nested containers of tensors and plain values; names without DDP's prefix."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, nn.Module):
        return unwrap(value).state_dict()
    return value.state_dict()


def set_state(value: Any, state: Any) -> None:
    """Puts a state of `get_state` back into an object of the same build, in place."""
    if isinstance(value, torch.Generator):
        value.set_state(state.cpu())
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif isinstance(value, nn.Module):
        unwrap(value).load_state_dict(state)
    elif isinstance(value, torch.optim.Optimizer):
        _set_optimizer_state(value, state)
    else:
        value.load_state_dict(state)


def _set_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    optimizer.load_state_dict(state)
    if type(optimizer).load_state_dict is not torch.optim.Optimizer.load_state_dict:
        return
    # PyTorch casts state to the parameter's dtype: bfloat16 momentum would come back as
    # float32. Put what was saved in its place.
    saved_ids = itertools.chain(*(group["params"] for group in state["param_groups"]))
    parameters = itertools.chain(*(g["params"] for g in optimizer.param_groups))
    for saved_id, parameter in zip(saved_ids, parameters, strict=True):
        if saved_id in state["state"]:
            optimizer.state[parameter] = state["state"][saved_id]
