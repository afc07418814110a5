"""`algoperf.leaves` for PyTorch: tensors, and the objects that hold them.

| object | saved as |
| --- | --- |
| tensors, parameters | array; memory that several share, strides, `requires_grad`, `grad` too |
| modules, optimizers, schedulers … | attributes, as any object; without compiled code |
| modules under DDP or `torch.compile` | the module within; the template has what is around |
| generators | state |
| dtypes, devices | name |
| sparse, quantized, distributed tensors | refused |

The graph of a tensor that was not detached is left out. An optimizer or scheduler of
PyTorch that holds something that cannot be saved gives its `state_dict` instead.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from algoperf.backend import Arrays
from algoperf.pytorch_backend.leaves.reader import TorchReader
from algoperf.pytorch_backend.leaves.writer import TorchWriter


def to_leaves(tree: object) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by path, and the structure as JSON: a copy, which no later step changes."""
    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        return TorchWriter().leaves(tree)


def from_leaves(
    template: object, arrays: Arrays, rest: Mapping[str, Any], device: torch.device
) -> object:
    """What `to_leaves` saved; in the objects of `template` where they fit.

    device: where tensors go that were on the accelerator and that the template lacks.
    Raises `BadCheckpoint` for what cannot be made here and for damage.
    """
    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        return TorchReader(arrays, device).state(rest, template)
