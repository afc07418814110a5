"""How pairs of sentences become rows of tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataConfig:
    """Sizes of the input pipeline; the defaults are the published ones."""

    max_length: int = 256  # tokens of a row, on each side; longer pairs are left out
    vocab_size: int = 32_000  # of the tokenizer that the data was prepared with
    shuffle_buffer: int = 1_024  # pairs among which the next one is drawn
