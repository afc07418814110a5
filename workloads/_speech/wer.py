"""Word error rate of greedy CTC decoding, in the published units and plainly.

The published evaluation turned each text into words by way of TensorFlow's printed form of
a string, for hypothesis and reference alike. That adds words and changes first and last
ones, so it defines the units of the published targets: `wer` reproduces it, `wer_plain`
is the word error rate as everybody else computes it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.datasets.librispeech.reader import TOKENIZER
from algoperf.datasets.librispeech.tokenizer import Tokenizer
from algoperf.errors import MissingDependency


@dataclass(frozen=True)
class WordErrors:
    """Sums over utterances."""

    errors: int  # words to substitute, insert or delete
    words: int  # of the references

    @property
    def rate(self) -> float:
        """Errors for each word of the references; NaN without any."""
        return self.errors / self.words if self.words else math.nan


def printed_form(text: str) -> str:
    """What TensorFlow prints for a scalar string.

    Python's rule for bytes: double quotes if the text has an apostrophe and no double
    quote.
    """
    return f"tf.Tensor({text.encode()!r}, shape=(), dtype=string)"


def word_errors(hypotheses: Sequence[str], references: Sequence[str]) -> WordErrors:
    """Edit distance between words (split at white space), each edit costing 1."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ModuleNotFoundError:
        raise MissingDependency(
            "Word error rates need the package rapidfuzz, which is not installed. "
            "Install it: pip install 'algoperf[data]'."
        ) from None
    errors = words = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        said = reference.split()
        errors += Levenshtein.distance(hypothesis.split(), said)
        words += len(said)
    return WordErrors(errors, words)


def published_word_errors(
    hypotheses: Sequence[str], references: Sequence[str]
) -> WordErrors:
    """`word_errors` between the printed forms: the units of the published targets.

    Each utterance has two more words, which are always right. First and last word carry
    what is printed before and behind the text; if an apostrophe in only one of the texts
    changes the quotes, both count as wrong.
    """
    return word_errors(
        list(map(printed_form, hypotheses)), list(map(printed_form, references))
    )


def summarise(
    outputs: Iterable[Mapping[str, np.ndarray]], *, data_folder: Path
) -> dict[str, float]:
    """Metrics of a split: `wer`, `wer_plain`, `ctc_loss`, `num_infeasible`, `num_examples`.

    outputs: of each batch `decoded` int [batch, frames], the tokens of the best path,
    collapsed, without blanks, 0 behind them; `targets` int [batch, tokens], 0 behind
    them; `ctc_loss` float [batch]; `num_tokens` [batch]; `num_infeasible` [batch], 1 for
    an utterance with more tokens than frames, which counts in neither part of the loss;
    `weights` [batch], 0 for padded rows, which count nowhere. `ctc_loss` is the loss for
    each token. data_folder: the prepared data, for its tokenizer.
    """
    tokenizer = Tokenizer.open(data_folder / TOKENIZER)
    hypotheses: list[str] = []
    references: list[str] = []
    loss = num_tokens = num_infeasible = 0.0
    for batch in outputs:
        is_real = np.asarray(batch["weights"]) > 0
        is_feasible = is_real & (np.asarray(batch["num_infeasible"]) == 0)
        hypotheses += tokenizer.decode(_real_tokens(batch["decoded"][is_real]))
        references += tokenizer.decode(_real_tokens(batch["targets"][is_real]))
        loss += float(np.sum(batch["ctc_loss"][is_feasible], dtype=np.float64))
        num_tokens += float(np.sum(batch["num_tokens"][is_feasible]))
        num_infeasible += float(np.sum(is_real & ~is_feasible))
    return {
        "wer": published_word_errors(hypotheses, references).rate,
        "wer_plain": word_errors(hypotheses, references).rate,
        "ctc_loss": loss / num_tokens if num_tokens else math.nan,
        "num_infeasible": num_infeasible,
        "num_examples": float(len(references)),
    }


def _real_tokens(rows: np.ndarray) -> list[list[int]]:
    """The tokens of each row without 0, which is the blank and the padding."""
    return [row[row > 0].tolist() for row in np.asarray(rows)]
