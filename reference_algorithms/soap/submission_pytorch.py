"""SOAP in PyTorch, which has none. See README.md.

Every process keeps all state (the harness's checkpoints hold the first process's) and
refreshes its share of the bases, which costs most.
"""

import math
from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms._shared.stacks_pytorch import (
    full_precision,
    map_over_ranks,
)
from algoperf.reference_algorithms.soap.matrices import (
    Settings,
    Shape,
    matrix_shape,
)


class Soap(ForeachOptimizer):
    """SOAP; a group has the parameters that are matrices of one `matrix_shape`.

    Vectors are in the group where it is None. Other groups have stacks: both moments
    [matrices, rows, columns], the second one in the rotated basis, and for each side that
    is rotated `statistics_<side>` and `basis_<side>` [matrices, side, side].
    """

    needs_all_gradients = True

    def __init__(self, params: Any, settings: Settings) -> None:
        super().__init__(params)
        self._settings = settings

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        count = group["num_updates"] - 1  # the first gradient makes no update
        if group["matrix_shape"] is None:
            if count == 0:
                return
            first, second = self._adam_moments(
                params, grads, self._settings.b1, self._settings.b2
            )
            directions = [
                self._direction(m, v, count) for m, v in zip(first, second, strict=True)
            ]
        else:
            directions = self._of_matrices(group, params, grads, count)
        if count:
            rate, decay = group["lr"], self._settings.weight_decay
            torch._foreach_mul_(params, 1.0 - rate * decay)
            torch._foreach_add_(params, directions, alpha=-rate)

    def _direction(
        self, first: torch.Tensor, second: torch.Tensor, count: int
    ) -> torch.Tensor:
        b1, b2, eps = self._settings.b1, self._settings.b2, self._settings.eps
        root = second.sqrt().div_(math.sqrt(1.0 - b2**count)).add_(eps)
        return first / (1.0 - b1**count) / root

    def _of_matrices(
        self, group: dict[str, Any], params: Tensors, grads: Tensors, count: int
    ) -> Tensors:
        """Directions of the parameters, none at the first gradient; new bases if due."""
        shape: Shape = tuple(group["matrix_shape"])
        stacked = torch.stack([grad.reshape(shape) for grad in grads])
        self._update_statistics(group, stacked)
        if count == 0:
            group["first"] = torch.zeros_like(stacked)
            group["second"] = torch.zeros_like(stacked)
            self._set_eigenvectors(group)
            return []
        b1, b2 = self._settings.b1, self._settings.b2
        first = group["first"].lerp_(stacked, 1.0 - b1)
        rotated = _rotated(group, stacked)
        second = group["second"].mul_(b2).addcmul_(rotated, rotated, value=1.0 - b2)
        direction = self._direction(_rotated(group, first), second, count)
        new = _rotated(group, direction, back=True).unbind()
        if count % self._settings.refresh_every == 0:
            self._refresh(group)
        return [x.view_as(p) for x, p in zip(new, params, strict=True)]

    def _update_statistics(self, group: dict[str, Any], stacked: torch.Tensor) -> None:
        beta = self._settings.statistics_beta
        with full_precision():
            for side, along in ((0, stacked), (1, stacked.mT)):
                if along.shape[1] > self._settings.largest_side:
                    continue
                name = f"statistics_{side}"
                if name not in group:
                    length, size, _ = along.shape
                    group[name] = along.new_zeros(length, size, size)
                group[name].baddbmm_(along, along.mT, beta=beta, alpha=1.0 - beta)

    def _set_eigenvectors(self, group: dict[str, Any]) -> None:
        """Largest eigenvalue first. Waits for a GPU, once a run."""
        for side in _sides(group):
            statistics = group[f"statistics_{side}"]
            sizes = statistics.abs().amax((1, 2), keepdim=True)
            # The decomposition raises on a NaN, with which a run may go on to end, and
            # in float32 on matrices of low rank, as those of one gradient are.
            finite = (statistics.double() / sizes).nan_to_num(0.0, 0.0, 0.0)
            _, vectors = torch.linalg.eigh(finite)
            basis = vectors.flip(2).to(statistics.dtype)
            group[f"basis_{side}"] = basis.contiguous()

    def _refresh(self, group: dict[str, Any]) -> None:
        """One power iteration of every basis, whose columns are put in order before."""
        for side in _sides(group):
            basis = group[f"basis_{side}"]
            with full_precision():
                products = group[f"statistics_{side}"] @ basis
            if self._settings.sorts:
                order = (basis * products).sum(1).argsort(1, descending=True)
                products = products.take_along_dim(order[:, None, :], 2)
                indices = order[:, :, None] if side == 0 else order[:, None, :]
                group["second"] = group["second"].take_along_dim(indices, side + 1)
            group[f"basis_{side}"] = map_over_ranks(_orthonormal, products)


def _orthonormal(stacked: torch.Tensor) -> torch.Tensor:
    q: torch.Tensor = torch.linalg.qr(stacked).Q
    return q


def _sides(group: dict[str, Any]) -> list[int]:
    """Those that are rotated: 0 of the rows, 1 of the columns."""
    return [side for side in (0, 1) if f"statistics_{side}" in group]


def _rotated(
    group: dict[str, Any], x: torch.Tensor, *, back: bool = False
) -> torch.Tensor:
    for side in _sides(group):
        basis = group[f"basis_{side}"]
        turn = basis if back else basis.mT
        x = turn @ x if side == 0 else x @ turn.mT
    return x


def parameter_groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """One group for each shape of matrices, and one, of shape None, of vectors."""
    by_shape: dict[Shape | None, list[torch.nn.Parameter]] = {}
    for param in model.parameters():
        by_shape.setdefault(matrix_shape(param.shape), []).append(param)
    return [{"params": p, "matrix_shape": shape} for shape, p in by_shape.items()]


def soap(setup: Setup) -> torch.optim.Optimizer:
    """SOAP; the factory's schedule is warm-up and cosine decay to 0."""
    adam = setup.adam
    b1, b2 = adam["betas"]
    numbers = {"b1": b1, "b2": b2, "eps": adam["eps"]}
    numbers["weight_decay"] = adam["weight_decay"]
    return Soap(parameter_groups(setup.params), Settings.of(numbers, setup.point))


get_batch_size, init_optimizer_state, update_params, data_selection = submission(soap)
