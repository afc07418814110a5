"""What has no parameters and works on images, in PyTorch, as TensorFlow and JAX define it."""

import torch
from torch import Tensor
from torch.nn import functional

from algoperf.pytorch_backend import layers

from .architectures import Padding


def max_pool(x: Tensor, size: int, stride: int, padding: Padding = "SAME") -> Tensor:
    """The maximum over windows; what is around the image never is the maximum."""
    if padding == "SAME":
        sides = x.shape[2:]
        rows, columns = (layers.same_padding(side, size, stride) for side in sides)
        if any((*rows, *columns)):
            x = functional.pad(x, [*columns, *rows], value=-torch.inf)
    return functional.max_pool2d(x, size, stride)


def resize(x: Tensor, side: int) -> Tensor:
    """To `side` x `side` pixels, bilinearly."""
    return functional.interpolate(x, (side, side), mode="bilinear", align_corners=False)
