"""FarmHash's Fingerprint64 of short strings, for whole arrays at once.

The published pipeline hashes a category's value followed by its column's number with
TensorFlow's fast string hash, which is this function. Strings of up to 16 characters
are enough: a value has 8 characters, a column's number 1 or 2.

Algorithm and constants: https://github.com/google/farmhash (MIT licence).
"""

import numpy as np

MAX_LENGTH = 16

_K0 = np.uint64(0xC3A5C85C97CB3127)
_K2 = np.uint64(0x9AE16A3B2F90404F)
_SHIFT = np.uint64(47)


def fingerprint64(characters: np.ndarray) -> np.ndarray:
    """Fingerprints of n strings of the same length: uint64 [n].

    characters: uint8 [n, length], with a length of at most 16.
    """
    num_strings, length = characters.shape
    if length > MAX_LENGTH:
        raise ValueError(f"strings of {length} characters; at most {MAX_LENGTH}")
    if length >= 8:
        return fingerprint_of_words(
            _word(characters[:, :8]), _word(characters[:, -8:]), length
        )
    if length >= 4:
        return _hash_4_to_7(_word(characters[:, :4]), _word(characters[:, -4:]), length)
    if length:
        return _hash_1_to_3(characters.astype(np.uint64), length)
    return np.full(num_strings, _K2)


def fingerprint_of_words(
    first: np.ndarray, last: np.ndarray, length: int
) -> np.ndarray:
    """Fingerprints of strings of 8 to 16 characters, given by their two ends.

    first, last: uint64 of any equal shape, the first and the last 8 characters, the
    earliest one in the lowest byte; they overlap if length < 16. `last` is overwritten.
    """
    multiplier = _multiplier(length)
    a = first + _K2
    b = last
    c = _rotated(b, 37)
    c *= multiplier
    c += a
    d = _rotated(a, 25)
    d += b
    d *= multiplier
    return _mixed(c, d, multiplier)


def _hash_4_to_7(first: np.ndarray, last: np.ndarray, length: int) -> np.ndarray:
    u = (first << np.uint64(3)) + np.uint64(length)
    return _mixed(u, last, _multiplier(length))


def _hash_1_to_3(characters: np.ndarray, length: int) -> np.ndarray:
    a, b, c = characters[:, 0], characters[:, length // 2], characters[:, -1]
    y = a + (b << np.uint64(8))
    z = np.uint64(length) + (c << np.uint64(2))
    x = (y * _K2) ^ (z * _K0)
    hashed: np.ndarray = (x ^ (x >> _SHIFT)) * _K2
    return hashed


def _mixed(u: np.ndarray, v: np.ndarray, multiplier: np.uint64) -> np.ndarray:
    """The 128 bits of u and v as 64; `u` is overwritten."""
    u ^= v
    u *= multiplier
    u ^= u >> _SHIFT
    u ^= v
    u *= multiplier
    u ^= u >> _SHIFT
    u *= multiplier
    return u


def _rotated(x: np.ndarray, bits: int) -> np.ndarray:
    """`x` rotated to the right."""
    rotated: np.ndarray = x >> np.uint64(bits)
    rotated |= x << np.uint64(64 - bits)
    return rotated


def _multiplier(length: int) -> np.uint64:
    return np.uint64((int(_K2) + 2 * length) % 2**64)


def _word(characters: np.ndarray) -> np.ndarray:
    """uint8 [n, width] -> uint64 [n], the first character in the lowest byte."""
    word = np.zeros(len(characters), np.uint64)
    for place, column in enumerate(characters.T):
        word |= column.astype(np.uint64) << np.uint64(8 * place)
    return word
