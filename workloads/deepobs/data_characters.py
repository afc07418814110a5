"""Batches of a running text: each row goes on where it ended in the batch before (sheet, §1)."""

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.tolstoi import reader
from algoperf.errors import BadSettings
from algoperf.prepared import PreparedData


class TextBatches:
    """The text in as many rows as a batch has, read from left to right, without shuffling."""

    def __init__(self, request: pipeline.DataRequest, text: np.ndarray) -> None:
        self._request = request
        self._text = text
        length = request.config.sequence_length
        num_sequences = request.splits.size(request.split)
        self.of_pass = num_sequences // request.batch_size
        if not self.of_pass:
            raise BadSettings(
                f"A batch of {request.batch_size} rows is larger than the "
                f"{num_sequences} sequences of {length} characters. Return a smaller "
                "batch size from get_batch_size."
            )
        self.num_batches = None if request.is_training else self.of_pass

    def batch(self, index: int) -> Arrays:
        """See `pipeline.Batches`. `starts` float32 [batch] is 1 where the text starts."""
        request, length = self._request, self._request.config.sequence_length
        place = index % self.of_pass
        rows = np.arange(request.batch_size)[request.shard_rows()]
        first = rows * (self.of_pass * length) + place * length
        at = first[:, None] + np.arange(length + 1)
        characters = self._text[at].astype(np.int32)
        starts = np.full(len(rows), float(place == 0), np.float32)
        batch = {
            "inputs": characters[:, :-1],
            "targets": characters[:, 1:],
            "starts": starts,
        }
        return batch if request.is_training else pipeline.pad_rows(batch, len(rows))


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split.

    `inputs` and `targets` int32 [batch, characters], the targets one character later; `starts`
    float32 [batch]; in evaluation `weights` float32 [batch].
    """
    data = PreparedData.requested(request, reader)
    return TextBatches(request, reader.read_split(data, request.split))
