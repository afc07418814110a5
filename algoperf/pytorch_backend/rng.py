"""From the two integers that a submission is handed as `rng` to generators and keys.

Nothing in this backend reads or changes PyTorch's global generators.
"""

import numpy as np
import torch

from algoperf.errors import BadSubmission

_INITIALISATION, _DROPOUT = 0, 1  # separate streams of one rng


def generator(rng: object) -> torch.Generator:
    """A CPU generator for initial values: equal on all ranks and kinds of device.

    rng: integers [2] in 0..2^32, as numpy array or anything that becomes one.
    """
    seed = _sequence(rng, _INITIALISATION).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(seed))


def dropout_keys(rng: object, num_sites: int) -> torch.Tensor:
    """int32 [num_sites, 2], on the CPU: two random words for each dropout layer."""
    words = _sequence(rng, _DROPOUT).generate_state(2 * num_sites, np.uint32)
    return torch.from_numpy(words.view(np.int32).reshape(num_sites, 2))


def _sequence(rng: object, stream: int) -> np.random.SeedSequence:
    numbers = np.atleast_1d(np.asarray(rng))
    if numbers.dtype.kind not in "iu":
        raise BadSubmission(
            f"rng is {rng!r}. Hand on the rng that the submission's function was given "
            "(a numpy array of two integers), or one made from it."
        )
    # Negative numbers are taken as the same bits, unsigned.
    words = numbers.astype(np.int64).view(np.uint64).ravel().tolist()
    return np.random.SeedSequence([stream, *words])
