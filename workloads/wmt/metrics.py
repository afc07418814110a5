"""BLEU of beam-search translations; loss and accuracy of each token.

The outputs of a batch (made by the models' `outputs`) have a leading axis of sentences:
`per_example_loss`: sum of its tokens' losses; `num_tokens`, `num_correct`: tokens, and
how many were the likeliest; `hypothesis`, `reference`: int32 [batch, length], token ids
that end with 2, then 0; `weights`: 0 for a sentence that is in no metric.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.datasets.wmt import reader
from algoperf.errors import MissingDependency
from algoperf.prepared import PreparedData

Summarise = Callable[[Iterable[Mapping[str, np.ndarray]]], dict[str, float]]


def summariser(data_folder: Path) -> Summarise:
    """`summarise` with the tokenizer of the prepared data."""
    data = PreparedData.open(data_folder, dataset=reader.DATASET, allow_partial=True)
    return functools.partial(
        summarise, tokenizer=reader.load_tokenizer(data), scorer=_scorer()
    )


def summarise(
    batches: Iterable[Mapping[str, np.ndarray]], *, tokenizer: Any, scorer: Any
) -> dict[str, float]:
    """Metrics of a split from the outputs of its batches, see above.

    `bleu`: 0 to 100, of the whole split; `loss` and `accuracy`: means over tokens; NaN
    without any. `num_examples` counts sentences, not padding. tokenizer: a
    `SentencePieceProcessor`; scorer: a sacrebleu metric.
    """
    sums = dict.fromkeys(("per_example_loss", "num_correct", "num_tokens"), 0.0)
    hypotheses: list[str] = []
    references: list[str] = []
    num_examples = 0
    for batch in batches:
        num_examples += int((batch["reference"] != 0).any(axis=-1).sum())
        is_scored = batch["weights"] > 0
        for key in sums:
            sums[key] += float(batch[key][is_scored].sum(dtype=np.float64))
        hypotheses += texts(batch["hypothesis"][is_scored], tokenizer)
        references += texts(batch["reference"][is_scored], tokenizer)
    num_tokens = sums["num_tokens"] or math.nan
    return {
        "bleu": scorer.corpus_score(hypotheses, [references]).score
        if references
        else math.nan,
        "loss": sums["per_example_loss"] / num_tokens,
        "accuracy": sums["num_correct"] / num_tokens,
        "num_examples": float(num_examples),
    }


def texts(tokens: np.ndarray, tokenizer: Any) -> list[str]:
    """Sentences of token ids [sentences, length], up to their end.

    Where no end was found the whole row counts. (Published: only its first token, which
    is an error.) References go through the same, so that characters without a token are
    altered in them as they are in translations.
    """
    ids = []
    for row in tokens:
        ends = np.flatnonzero(row == reader.END)
        # Without an end, all but the padding.
        length = ends[0] if len(ends) else np.max(np.flatnonzero(row), initial=-1) + 1
        ids.append(row[:length].tolist())
    decoded: list[str] = tokenizer.decode(ids) if ids else []
    return decoded


def _scorer() -> Any:
    """BLEU as published: sacrebleu's tokenizer 13a, exponential smoothing, case kept."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError:
        raise MissingDependency(
            "The wmt metrics need the package 'sacrebleu', which is not installed. "
            "Install it: pip install 'algoperf[data]'."
        ) from None
    # `force` only silences a warning about text that looks tokenised.
    return BLEU(tokenize="13a", smooth_method="exp", force=True)
