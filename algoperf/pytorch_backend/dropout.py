"""Dropout whose masks are a pure function of the step's rng, and whose rate may change.

Masks come from a hash of the element's index in the *global* batch, not from a
generator: they are the same on every device, for any number of processes (as long as
the first axis is the batch), with and without `torch.compile`, which fuses the hash and
cannot trace generators.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from algoperf.pytorch_backend.rng import dropout_keys

# The 32-bit mixer "lowbias32" of https://github.com/skeeto/hash-prospector (public
# domain), as signed numbers; the first word of a key is added before it, the second one
# inside.
_GOLDEN, _MULTIPLY_1, _MULTIPLY_2 = -1640531527, 0x7FEB352D, -2073254261
_BITS = 24  # of each random number: as many as float32 holds


def dropout(
    x: Tensor,
    rate: Tensor,
    key: Tensor,
    *,
    rank: int | Tensor = 0,
    broadcast_dims: Sequence[int] = (),
) -> Tensor:
    """Zeroes each element with probability `rate` and divides the others by 1 - rate.

    rate: float32 scalar in [0, 1]; 0 is exactly the identity, 1 gives zeros. key: int32
    [2]. rank: of the process, whose part of a global batch `x` belongs to: how many
    arrays of this size come before it.
    broadcast_dims: axes along which elements are dropped together (whole channels).
    """
    dims = [dim % x.ndim for dim in broadcast_dims]
    shape = [1 if dim in dims else size for dim, size in enumerate(x.shape)]
    kept = _random_bits(shape, key, rank) >= (rate * 2**_BITS).to(torch.int32)
    # The divisor is kept from 0, because a gradient through 0/0 would be NaN.
    scale = 1 / torch.where(rate < 1, 1 - rate, 1)
    return torch.where(kept, x * scale, 0)


def _random_bits(shape: Sequence[int], key: Tensor, rank: int | Tensor) -> Tensor:
    """Uniform int32 in [0, 2^24) of that shape; each process has numbers of its own."""
    count = 1
    for size in shape:
        count *= size
    x = torch.arange(count, dtype=torch.int32, device=key.device)
    # Products and sums wrap around, which is what a hash wants.
    x.mul_(_GOLDEN).add_(key[0])
    before = rank * count * _GOLDEN
    if isinstance(before, Tensor):  # int64; under `vmap` not to be added in place
        x = x + _wrapped(before).to(torch.int32)
    else:
        x.add_(_wrapped(before))
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_MULTIPLY_1)
    x.bitwise_xor_(key[1])
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF)).mul_(_MULTIPLY_2)
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))
    return (x >> (32 - _BITS)).bitwise_and_(2**_BITS - 1).view(shape)


def _wrapped(number: Any) -> Any:
    """The signed 32-bit number with the same last 32 bits."""
    return (number + 2**31) % 2**32 - 2**31


class Dropout(nn.Module):
    """`dropout` in training mode, with the rate and rng of the current forward pass.

    Models just call it; `configure` is the bound model's.
    """

    def __init__(
        self, broadcast_dims: Sequence[int] = (), *, share: float = 1.0
    ) -> None:
        """share: of the workload's dropout rate, where layers of a model differ."""
        super().__init__()
        self.share = share
        self.broadcast_dims = tuple(broadcast_dims)
        self.is_active = False
        self.rank = 0
        # Its index in the global batch, where `x` is a single example of it.
        self.example: Tensor | None = None
        self.rate: Tensor | None = None
        self.key: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape, with the batch as its first axis."""
        if not (self.training and self.is_active):
            return x
        assert self.rate is not None and self.key is not None
        dims = self.broadcast_dims
        place = self.rank if self.example is None else self.example
        return dropout(x, self.rate, self.key, rank=place, broadcast_dims=dims)


def configure(
    layers: Iterable[Dropout],
    rate: Any,
    rng: Any,
    *,
    rank: int,
    device: torch.device,
    compiled: bool = False,
) -> None:
    """Sets the rate and a key of its own for each dropout layer of a model.

    rate: a float or a scalar tensor in [0, 1]. A rate of 0 skips the layers; in a
    compiled model only until a rate was above 0, so that 0 -> 0.1 compiles once more,
    and no other change of the rate does.
    """
    layers = list(layers)
    if not layers:
        return
    is_zero = not isinstance(rate, Tensor) and float(rate) == 0
    if is_zero and not (compiled and layers[0].is_active):
        for layer in layers:
            layer.is_active = False
        return
    rate = torch.as_tensor(rate, dtype=torch.float32).to(device, non_blocking=True)
    keys = dropout_keys(rng, len(layers)).to(device, non_blocking=True)
    for layer, key in zip(layers, keys.unbind(), strict=True):
        layer.is_active, layer.rank = True, rank
        own = rate if layer.share == 1 else layer.share * rate
        layer.rate, layer.key = own.detach(), key
