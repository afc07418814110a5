"""Evaluates parameters on the three evaluation splits; never on the submission's clock."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from algoperf import plugins
from algoperf.backend import Arrays, Backend, MetricsModule
from algoperf.definition import SPLIT_PREFIX, Split
from algoperf.errors import BadData
from algoperf.manifest import prepare_command
from algoperf.pipeline import DataRequest, InputQueue
from algoperf.plugins import DataModule
from algoperf.runner.randomness import key_numbers
from algoperf.workload import Workload


class Evaluator:
    """Turns parameters into metrics: data -> outputs on the devices -> numpy -> metrics."""

    def __init__(
        self,
        workload: Workload,
        backend: Backend,
        data: DataModule,
        metrics: MetricsModule,
        *,
        data_folder: Path,
        seed: int,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_batch` is called after every batch: a sign of life."""
        self._workload = workload
        self._backend = backend
        self._open_batches = data.open_batches
        self._summarise = summary_of(metrics, data_folder)
        self._folder = data_folder
        self._seed = seed
        self._on_batch = on_batch

    def evaluate(self, params: Any, model_state: Any) -> dict[str, float]:
        """Metrics of all evaluation splits, keys like `validation/accuracy`.

        A split without examples has none: a loss that is not a number would end the trial.
        """
        definition = self._workload.definition
        splits = definition.splits
        return {
            f"{SPLIT_PREFIX[split]}/{name}": float(value)
            for split in definition.evaluated_splits
            if splits.size(split)
            for name, value in self._evaluate_split(split, params, model_state).items()
        }

    def _evaluate_split(
        self, split: Split, params: Any, model_state: Any
    ) -> dict[str, float]:
        outputs = self._outputs(split, params, model_state)
        metrics = dict(self._summarise(outputs))
        definition = self._workload.definition
        expected = definition.evaluated(split, self._batch_size())
        counted = round(metrics["num_examples"])
        if counted != expected:
            raise BadData(
                f"Evaluating {self._workload.name} on {split} counted {counted} examples "
                f"instead of {expected}. Remove {self._folder} and prepare the data again: "
                f"{prepare_command(self._folder)}."
            )
        return metrics

    def _batch_size(self) -> int:
        """The evaluation batch size, rounded up to a multiple of the devices."""
        num_devices = self._backend.num_devices
        return -(-self._workload.eval_batch_size // num_devices) * num_devices

    def _outputs(self, split: Split, params: Any, model_state: Any) -> Iterator[Arrays]:
        definition = self._workload.definition
        request = DataRequest(
            folder=self._folder,
            split=split,
            splits=definition.splits,
            batch_size=self._batch_size(),
            seed=self._seed,
            config=definition.data,
            shard=self._backend.rank,
            num_shards=self._backend.num_processes,
            drop_last=definition.drop_last_batch,
        )
        evaluate = self._workload.evaluation_pass(params, model_state)
        with closing(
            InputQueue(self._open_batches(request), self._backend.place)
        ) as queue:
            for index, batch in enumerate(queue):
                yield evaluate(batch, self._key(split, index))
                self._on_batch()

    def _key(self, split: Split, index: int) -> Any:
        """The key of an evaluation batch, the same at every evaluation of a trial."""
        if not self._workload.definition.draws_in_evaluation:
            return None
        numbers = key_numbers(self._seed, f"evaluation of {split}", index)
        return self._backend.keys(numbers)[0]


def summary_of(metrics: MetricsModule, data_folder: Path) -> plugins.Summarise:
    """What makes a split's metrics of its outputs: `metrics.summarise`.

    Metrics that need what was prepared with the data, as a vocabulary, define
    `summariser(data_folder)`, which returns such a function.
    """
    summariser = plugins.optional(metrics, "summariser")
    summarise: plugins.Summarise = (
        summariser(data_folder)
        if summariser
        else plugins.optional(metrics, "summarise")
    )
    return summarise
