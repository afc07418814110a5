"""NorMuon in PyTorch for hidden matrices, NadamW for the rest. See README.md."""

import math
from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import (
    EPSILON,
    Setup,
    submission,
)
from algoperf.reference_algorithms._shared.foreach_pytorch import Tensors
from algoperf.reference_algorithms._shared.matrices import (
    SMALLEST_NORM,
    UPDATE_SIZE,
    Shape,
)
from algoperf.reference_algorithms._shared.nadamw_pytorch import NadamW
from algoperf.reference_algorithms._shared.orthogonal_pytorch import (
    OUTPUT_AXIS,
    orthogonalized_stack,
    parameter_groups,
)


class NorMuon(NadamW):
    """NorMuon in groups that have a `matrix_shape`, NadamW in those where it is None.

    State of a matrix: `momentum`, and `neuron_moment` [outputs], of every output neuron
    the mean square of its part of orthogonal updates.
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        if group["matrix_shape"] is None:
            super()._update(group, params, grads)
            return
        momentum = self._buffers("momentum", params)
        torch._foreach_lerp_(momentum, grads, 1.0 - group["momentum"])
        new = self._normalized(group, params, momentum).unbind()
        directions = [x.view_as(p) for x, p in zip(new, params, strict=True)]
        torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, directions, alpha=-group["lr"])

    def _normalized(
        self, group: dict[str, Any], params: Tensors, momentum: Tensors
    ) -> torch.Tensor:
        """[matrices, rows, columns]: orthogonal, even over neurons, of AdamW's size."""
        shape: Shape = tuple(group["matrix_shape"])
        input_axis = 2 - OUTPUT_AXIS
        x = orthogonalized_stack(momentum, shape)
        seen = x.square().mean(input_axis).unbind()
        second = self._neuron_moments(params, shape[OUTPUT_AXIS])
        torch._foreach_lerp_(second, list(seen), 1.0 - group["neuron_beta2"])
        roots = torch.stack(second).sqrt() + EPSILON
        x = x / roots.unsqueeze(input_axis)
        norms: torch.Tensor = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        size = UPDATE_SIZE * math.sqrt(math.prod(shape))
        scaled: torch.Tensor = x * (size / norms.clamp(min=SMALLEST_NORM))
        return scaled

    def _neuron_moments(self, params: Tensors, num_outputs: int) -> Tensors:
        for param in params:
            if "neuron_moment" not in self.state[param]:
                self.state[param]["neuron_moment"] = param.new_zeros(num_outputs)
        return [self.state[param]["neuron_moment"] for param in params]


def normuon(setup: Setup) -> torch.optim.Optimizer:
    """NorMuon and NadamW at one rate; the schedule is warm-up and cosine decay to 0."""
    return NorMuon(
        parameter_groups(setup.workload, setup.params),
        momentum=1.0 - setup.point.one_minus_momentum,
        neuron_beta2=setup.point.neuron_beta2,
        **setup.adam,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    normuon
)
