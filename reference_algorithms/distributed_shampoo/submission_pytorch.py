"""Distributed Shampoo in PyTorch, which has none. See README.md.

Every process keeps all statistics (the harness's checkpoints hold the first process's
state) and takes the roots, which cost most, of its share.
"""

import functools
from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms._shared.stacks_pytorch import map_over_ranks
from algoperf.reference_algorithms.distributed_shampoo.blocks import Blocks, Constants
from algoperf.reference_algorithms.distributed_shampoo.roots_pytorch import (
    inverse_roots,
)


class DistributedShampoo(ForeachOptimizer):
    """Distributed Shampoo; one group of tensors; settings `beta1`, `weight_decay`.

    The group has `statistics` and `roots`: for each axis of each group of blocks
    [blocks, length of the axis, length of the axis].
    """

    needs_all_gradients = True

    def __init__(self, params: Any, constants: Constants, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._constants = constants
        (group,) = self.param_groups
        shapes = [param.shape for param in group["params"]]
        self._blocks = Blocks(shapes, constants.limits)
        like = group["params"][0]
        group["roots"] = [
            torch.eye(size, dtype=like.dtype, device=like.device).repeat(count, 1, 1)
            for shape, count in self._blocks.counts.items()
            for size in shape
        ]
        group["statistics"] = [
            constants.initial_statistic * root for root in group["roots"]
        ]

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        graft = self._grafting_directions(params, grads)
        directions = self._preconditioned(group, grads, graft)
        self._rescale(directions, graft)
        is_preconditioned = (
            group["num_updates"] >= self._constants.start_preconditioning_step
        )
        result = self._nesterov(group, params, directions, "momentum")
        graft_result = self._nesterov(group, params, graft, "graft_momentum")
        used = result if is_preconditioned else graft_result
        torch._foreach_add_(params, used, alpha=-group["lr"])

    def _grafting_directions(self, params: Tensors, grads: Tensors) -> Tensors:
        """RMSProp's directions of normalised gradients."""
        norms = list(torch._foreach_norm(grads))
        torch._foreach_add_(norms, self._constants.smallest_norm)
        normalised = torch._foreach_div(grads, norms)
        second = self._buffers("second_moment", params)
        beta2 = self._constants.beta2
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, normalised, normalised, 1.0 - beta2)
        denominator = torch._foreach_sqrt(second)
        torch._foreach_add_(denominator, self._constants.epsilon)
        return list(torch._foreach_div(normalised, denominator))

    def _preconditioned(
        self, group: dict[str, Any], grads: Tensors, graft: Tensors
    ) -> Tensors:
        """The gradients with the roots along every axis.

        Tensors with too long an axis have their grafting direction instead.
        """
        stacks = {s: torch.stack(cut) for s, cut in self._blocks.cut(grads).items()}
        numbers = iter(range(len(group["statistics"])))
        axes = [
            (shape, axis, next(numbers))
            for shape in stacks
            for axis in range(len(shape))
        ]
        for shape, axis, number in axes:
            self._update_statistic(group["statistics"][number], stacks[shape], axis)
        if (group["num_updates"] - 1) % self._constants.update_roots_every == 0:
            self._update_roots(group, [2 * len(shape) for shape, _, _ in axes])
        for shape, axis, number in axes:
            stacks[shape] = _apply(stacks[shape], axis, group["roots"][number])
        new = {shape: stacked.unbind() for shape, stacked in stacks.items()}
        joined = self._blocks.join(new, torch.cat)
        return [joined.get(i, direction) for i, direction in enumerate(graft)]

    def _update_statistic(
        self, statistic: torch.Tensor, stacked: torch.Tensor, axis: int
    ) -> None:
        along = _along(stacked, axis)
        beta2 = self._constants.beta2
        statistic.baddbmm_(along, along.mT, beta=beta2, alpha=1.0 - beta2)

    def _update_roots(self, group: dict[str, Any], orders: list[int]) -> None:
        """New roots of all statistics; where one failed, the old root stays.

        Matrices of one size and order are one stack, of which each process takes the
        roots of its share. orders: one for each stack of statistics.
        """
        stacks: list[torch.Tensor] = group["statistics"]
        places: dict[tuple[int, int], list[int]] = {}
        for number, (stack, order) in enumerate(zip(stacks, orders, strict=True)):
            places.setdefault((stack.shape[1], order), []).append(number)
        for (_, order), numbers in places.items():
            joined = torch.cat([stacks[number] for number in numbers])
            new = map_over_ranks(functools.partial(self._roots, order=order), joined)
            parts = new.split([len(stacks[number]) for number in numbers])
            for number, part in zip(numbers, parts, strict=True):
                old = group["roots"][number]
                group["roots"][number] = torch.where(part.isnan(), old, part)

    def _roots(self, matrices: torch.Tensor, order: int) -> torch.Tensor:
        """[matrices, n, n]: roots, NaN where one failed."""
        roots, errors = inverse_roots(matrices, order, self._constants.ridge)
        is_usable = errors < self._constants.largest_error  # not so if NaN
        return torch.where(is_usable[:, None, None], roots, torch.nan)

    def _rescale(self, directions: Tensors, graft: Tensors) -> None:
        """Gives each direction the norm of its grafting direction."""
        norms = list(torch._foreach_norm(directions))
        torch._foreach_add_(norms, self._constants.smallest_norm)
        scales = torch._foreach_div(torch._foreach_norm(graft), norms)
        # Out of place: a direction may be the grafting direction itself.
        directions[:] = torch._foreach_mul(directions, scales)

    def _nesterov(
        self, group: dict[str, Any], params: Tensors, directions: Tensors, name: str
    ) -> Tensors:
        decayed = torch._foreach_add(directions, params, alpha=group["weight_decay"])
        momentum = self._buffers(name, params)
        torch._foreach_lerp_(momentum, decayed, 1.0 - group["beta1"])
        return list(torch._foreach_lerp(momentum, decayed, 1.0 - group["beta1"]))


def _apply(stacked: torch.Tensor, axis: int, root: torch.Tensor) -> torch.Tensor:
    """Every block multiplied along an axis with its root."""
    shape = stacked.movedim(axis + 1, 1).shape
    return (root @ _along(stacked, axis)).view(shape).movedim(1, axis + 1)


def _along(stacked: torch.Tensor, axis: int) -> torch.Tensor:
    """[blocks, length of the axis, all other axes]; axis counts without the blocks."""
    moved = stacked.movedim(axis + 1, 1)
    return moved.reshape(*moved.shape[:2], -1)


def rule(setup: Setup) -> torch.optim.Optimizer:
    """Distributed Shampoo; the schedule is warm-up and cosine decay to 0."""
    return DistributedShampoo(
        setup.params.parameters(),
        constants=Constants.at(setup.point),
        beta1=1.0 - setup.point.one_minus_beta1,
        weight_decay=setup.point.weight_decay,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(rule)
