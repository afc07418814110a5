"""Which columns of k-space are measured: a quarter of them, with all low frequencies.

The evaluation mask is that of the published benchmark, which drew it with TensorFlow's
stateless uniform generator (Philox 4x32-10) and seed (0, 0). It depends on the number
of columns alone, and the targets were measured with it.
"""

import functools

import numpy as np

_ACCELERATION = 4
_CENTRE_FRACTION = np.float32(0.08)
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_WEYL = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
_ROUNDS = 10
_LOW_WORD = np.uint64(0xFFFFFFFF)
_EVALUATION_SEED = (0, 0, 0, 0)
# TensorFlow scrambles the seed with a block under this key.
_SCRAMBLING_KEY = (0x3EC8F720, 0x02461E29)
_FRACTION_BITS, _ONE = np.uint32(0x7FFFFF), np.uint32(0x3F800000)


def evaluation_mask(num_columns: int) -> np.ndarray:
    """The measured columns of every slice of validation and test: bool [columns]."""
    return sampled(evaluation_uniforms(num_columns))


def example_mask(num_columns: int, seed: int, example: int) -> np.ndarray:
    """The measured columns of an example, the same in every epoch: bool [columns]."""
    source = np.random.Philox(np.random.SeedSequence((seed, example)))
    return sampled(np.random.Generator(source).random(num_columns, np.float32))


def sampled(uniforms: np.ndarray) -> np.ndarray:
    """Random columns and those of low frequency: bool [columns].

    uniforms: float32 [columns] in [0, 1). A quarter of all columns is expected.
    """
    first, number = centre(len(uniforms))
    mask = uniforms < np.float32(probability(len(uniforms)))
    mask[first : first + number] = True
    return mask


def centre(num_columns: int) -> tuple[int, int]:
    """First and number of the columns of low frequency."""
    number = int(_CENTRE_FRACTION * np.float32(num_columns))
    return (num_columns - number + 1) // 2, number


def probability(num_columns: int) -> float:
    """With which each column is drawn."""
    _, number = centre(num_columns)
    return (num_columns / _ACCELERATION - number) / (num_columns - number)


@functools.cache
def evaluation_uniforms(num_columns: int) -> np.ndarray:
    """TensorFlow's stateless uniforms with seed (0, 0): float32 [columns], read-only."""
    scrambled = philox(np.array([_EVALUATION_SEED]).T, _SCRAMBLING_KEY)[:, 0]
    num_blocks = -(-num_columns // 4)
    counters = np.zeros((4, num_blocks), np.uint64)
    counters[0] = np.arange(num_blocks)
    counters[2:] = scrambled[2:, np.newaxis]
    words = philox(counters, (int(scrambled[0]), int(scrambled[1]))).T.ravel()
    bits = (words & _FRACTION_BITS) | _ONE  # in [1, 2)
    uniforms = bits.view(np.float32)[:num_columns] - np.float32(1)
    uniforms.flags.writeable = False
    return uniforms


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox 4x32-10 (Salmon and others, 2011): uint32 [4, blocks].

    counters: [4, blocks], each a 32-bit number; key: two of them.
    """
    even, odd = counters[[0, 2]].astype(np.uint64), counters[[1, 3]].astype(np.uint64)
    keys = np.array(key, np.uint64)[:, np.newaxis]
    for _ in range(_ROUNDS):
        products = even * _MULTIPLIERS
        high, low = (products >> np.uint64(32))[::-1], (products & _LOW_WORD)[::-1]
        even, odd = high ^ odd ^ keys, low
        keys = (keys + _WEYL) & _LOW_WORD
    return np.stack([even[0], odd[0], even[1], odd[1]]).astype(np.uint32)
