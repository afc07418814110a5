"""Speed of the word error rate, beside the edit distance in plain Python.

    python benchmarks/wer.py

1,000 pairs of 16 words; the published metric took 7.4 s for them, its edit distance alone
0.64 s.
"""

from collections.abc import Sequence

import numpy as np
from measuring import shortest

from algoperf.workloads._speech.wer import (
    printed_form,
    published_word_errors,
    word_errors,
)

NUM_PAIRS, NUM_WORDS = 1_000, 16
EVALUATED = 5_348 + 2_472 + 5_376  # utterances of an evaluation


def made_up_texts() -> tuple[list[str], list[str]]:
    """Hypotheses and references; about every fifth word differs."""
    rng = np.random.default_rng(0)
    words = np.array([f"WORD{i}" for i in range(2_000)])
    references = rng.integers(0, len(words), (NUM_PAIRS, NUM_WORDS))
    is_wrong = rng.random(references.shape) < 0.2
    other = rng.integers(0, len(words), references.shape)
    hypotheses = np.where(is_wrong, other, references)
    return [" ".join(words[row]) for row in hypotheses], [
        " ".join(words[row]) for row in references
    ]


def plain_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Edit distance row by row, as the yardstick."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def main() -> None:
    """Prints the times."""
    hypotheses, references = made_up_texts()
    printed = [
        (printed_form(h).split(), printed_form(r).split())
        for h, r in zip(hypotheses, references, strict=True)
    ]

    def both() -> None:
        published_word_errors(hypotheses, references)
        word_errors(hypotheses, references)

    ours = shortest(both, 20)
    one = shortest(lambda: published_word_errors(hypotheses, references), 20)
    plain = shortest(lambda: sum(plain_distance(h, r) for h, r in printed), 3)
    assert published_word_errors(hypotheses, references).errors == sum(
        plain_distance(h, r) for h, r in printed
    )
    print(
        f"{NUM_PAIRS:,} pairs of {NUM_WORDS} words: wer {1e3 * one:.1f} ms, wer and "
        f"wer_plain {1e3 * ours:.1f} ms; plain Python's edit distance alone "
        f"{1e3 * plain:.0f} ms ({plain / one:.0f} x); an evaluation of {EVALUATED:,} "
        f"utterances {ours * EVALUATED / NUM_PAIRS:.2f} s"
    )


if __name__ == "__main__":
    main()
