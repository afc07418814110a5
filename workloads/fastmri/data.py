"""Batches of fastMRI slices: masked, reconstructed with zeros, normalised."""

import hashlib
from collections.abc import Callable

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.fastmri import reader
from algoperf.prepared import PreparedData

from . import masks
from .cache import SliceCache, open_cache
from .processing import Processed, process

# eval_train is the same training slices, with the same masks, in every run.
_EVAL_TRAIN_SEED = 0x666D7269
_CACHE_FOLDER = "cache"
_CACHE_VERSION = 1  # raised whenever slices are processed differently

Mask = Callable[[int, int], np.ndarray]


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split of the prepared data in `request.folder`.

    Each is `inputs` and `targets` float32 [batch, side, side], -6 to 6, both normalised
    by the input's `mean` and `std` float32 [batch]; `volume_max` float32 [batch], the
    largest value of the slice's volume, not normalised; and in evaluation `weights`
    float32 [batch], 0 for padding, where everything else is 0 too.
    """
    data = PreparedData.requested(request, reader)
    slices = reader.read_split(data, request.split)
    if slices.side != request.config.side:
        raise data.unfit(
            f"has images of {slices.side}x{slices.side} pixels; the workload's have "
            f"{request.config.side}x{request.config.side}"
        )
    chosen = pipeline.chosen_examples(request, len(slices), _EVAL_TRAIN_SEED)
    cache = None
    if request.config.cache:
        folder = request.folder / _CACHE_FOLDER
        key = cache_key(data, request)
        cache = open_cache(folder, request.split, key, len(chosen), slices.side)
    source = SliceSource(slices, chosen, example_masks(request), cache)
    return pipeline.ExampleBatches(request, source.read, num_examples=len(chosen))


def example_masks(request: pipeline.DataRequest) -> Mask:
    """The mask of a slice, from its number of columns and its example number."""
    if request.split in ("validation", "test"):
        return lambda num_columns, example: masks.evaluation_mask(num_columns)
    seed = request.seed if request.split == "train" else _EVAL_TRAIN_SEED
    return lambda num_columns, example: masks.example_mask(num_columns, seed, example)


def cache_key(data: PreparedData, request: pipeline.DataRequest) -> str:
    """A name of all that processed slices depend on, the data's content included."""
    parts = [
        data.manifest.to_json(),
        request.split,
        # numpy's transform may round differently in another version.
        f"{_CACHE_VERSION} {np.__version__}",
        str(request.seed) if request.split == "train" else "",
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class SliceSource:
    """Reads processed slices of one split: from the cache, or else makes them."""

    def __init__(
        self,
        slices: reader.Slices,
        chosen: np.ndarray,
        mask: Mask,
        cache: SliceCache | None,
    ) -> None:
        """chosen: int [examples], the slice of each example."""
        self._slices = slices
        self._chosen = chosen
        self._mask = mask
        self._cache = cache

    def read(self, example_ids: np.ndarray, epochs: np.ndarray) -> Arrays:
        """The arrays of `open_batches`; every epoch sees the same slices."""
        number, side = len(example_ids), self._slices.side
        batch = {
            "inputs": np.empty((number, side, side), np.float32),
            "targets": np.empty((number, side, side), np.float32),
            "mean": np.empty(number, np.float32),
            "std": np.empty(number, np.float32),
            "volume_max": self._slices.volume_max[self._chosen[example_ids]],
        }
        for row, example in enumerate(example_ids.tolist()):
            inputs, targets = batch["inputs"][row], batch["targets"][row]
            found = self._cache and self._cache.load(example, inputs, targets)
            if not found:
                processed = self.process(example)
                inputs[:], targets[:] = processed.inputs, processed.targets
                found = processed.mean, processed.std
                if self._cache:
                    self._cache.store(example, processed)
            batch["mean"][row], batch["std"][row] = found
        return batch

    def process(self, example: int) -> Processed:
        """One example, computed."""
        index = int(self._chosen[example])
        columns = self._slices.columns(index)
        mask = self._mask(len(columns), example)
        return process(columns, mask, self._slices.target(index))
