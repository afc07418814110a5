"""Many points of one optimizer in one program of JAX: hyperparameters are an axis of arrays.

For the family of the Crowded Valley study on workloads that are trained by epochs and keep no
model state. Data, keys, schedule and rule are those of single trials; only the hyperparameters are
float32 numbers of the program instead of constants in it, and sums may be in another order. So
results are those of single trials up to rounding. Logs are those of ordinary trials, without times.

As a program it is like `shared_runs`, which runs single trials and keeps them exact.
"""

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from algoperf import logs, parameter_loss, spec
from algoperf.backend import Backend
from algoperf.definition import SPLIT_PREFIX, Split
from algoperf.errors import BadSettings
from algoperf.logs import EvaluationRow, TrialLog
from algoperf.outcome import Outcome
from algoperf.pipeline import Batches, DataRequest
from algoperf.procedures.shared_runs import CAVEAT, is_finished, work
from algoperf.runner import machine, setup
from algoperf.runner.evaluation import summary_of
from algoperf.runner.outcomes import Ending
from algoperf.runner.plan import TrialPlan
from algoperf.runner.randomness import StepKeys, key_numbers, seed_for
from algoperf.runner.supervision.folder_lock import locked
from algoperf.runner.supervision.watchdog import Heartbeat
from algoperf.runner.tuning import as_hyperparameters
from algoperf.trial_meta import Devices, TrialMeta
from algoperf.workload import Workload

_MOST_RUNS = 25  # of a stack
_FAMILY = "algoperf.reference_algorithms.crowded_valley"
_STACKED = (
    "was trained in one program with other points: equal to a single run up to rounding"
)


def _family(name: str) -> Any:
    """A module of the family, which is loaded as any wing is: when it is needed."""
    return importlib.import_module(f"{_FAMILY}.{name}")


def stacks_of(plans: Sequence[TrialPlan]) -> Iterator[list[TrialPlan]]:
    """Plans of one workload and optimizer each, and not too many.

    Data that are read may be changed by draws of the seed, in evaluations too: such plans
    share their seed.
    """
    groups: dict[tuple[str, str, int], list[TrialPlan]] = {}
    for plan in plans:
        seed = plan.seed if plan.settings.definition.needs_data else 0
        name = str((plan.point or {}).get("optimizer"))
        groups.setdefault((plan.settings.workload, name, seed), []).append(plan)
    for group in groups.values():
        for first in range(0, len(group), _MOST_RUNS):
            yield group[first : first + _MOST_RUNS]


@dataclass(frozen=True)
class Points:
    """What differs between the runs of a stack; every array has an axis of runs first."""

    name: str  # of the optimizer
    values: dict[str, jax.Array]  # float32 [runs]
    table: dict[str, jax.Array]  # float32 [runs, steps]
    rates: jax.Array  # float32 [runs, steps]

    @property
    def arrays(self) -> Any:
        """All of them, as a tree."""
        return self.values, self.table, self.rates


def points_of(plans: Sequence[TrialPlan], num_steps: int) -> Points:
    """The hyperparameters of plans as arrays."""
    family = _family("family")
    given = [as_hyperparameters(plan.point or {}) for plan in plans]
    chosen = [family.choice(point) for point in given]
    tables = [family.table_of(c.name, c.values, num_steps) for c in chosen]
    steps = np.arange(num_steps)
    rates = [
        np.broadcast_to(family.schedule_of(point, num_steps)(steps), (num_steps,))
        for point in given
    ]
    return Points(
        chosen[0].name,
        {key: _stacked([c.values[key] for c in chosen]) for key in chosen[0].values},
        {key: _stacked([table[key] for table in tables]) for key in tables[0]},
        _stacked(rates),
    )


def _stacked(rows: Sequence[Any]) -> jax.Array:
    return jnp.asarray(np.stack([np.asarray(row, np.float32) for row in rows]))


def _stack(trees: Sequence[Any]) -> Any:
    """Equal trees as one, with a first axis for their number."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class StackedRuns:
    """Trains stacks of plans on one workload."""

    def __init__(self, plan: TrialPlan, backend: Backend) -> None:
        """plan: one of them. AlgoPerfError where its workload cannot be stacked."""
        self._plan = plan
        self._backend = backend
        self._site = setup.bind_workload(plan, backend, Heartbeat())
        self._workload = self._site.workload
        definition = self._workload.definition
        self._definition = definition
        self._check(plan)
        self._epochs = setup.epochs_of(definition, definition.default_batch_size)
        self._evaluator = jax.jit(jax.vmap(self._example_outputs, in_axes=(0, None)))
        self._splits: dict[tuple[Split, int], list[Any]] = {}

    def _check(self, plan: TrialPlan) -> None:
        model, definition = self._site.modules.model, self._definition
        key = self._backend.keys(key_numbers(plan.seed, "init"))[0]
        has_state = bool(jax.tree.leaves(self._workload.init_model_fn(key)[1]))
        if definition.epochs is None or has_state or hasattr(model, "outputs"):
            raise BadSettings(
                f"Runs of {definition.name} cannot be stacked: it is not trained by epochs, "
                "keeps a model state, or evaluates in a way of its own. Leave --stacked out."
            )

    def run(self, plans: Sequence[TrialPlan]) -> list[Ending]:
        """Trains plans of one optimizer together, and logs each as a trial of its own."""
        length, last = self._epochs.steps_of_each, self._epochs.num_steps
        assert length and last
        points = points_of(plans, last)
        limit = setup.last_step(plans[0].settings, self._epochs) or last
        num_steps = limit // length * length  # whole epochs
        seeds = list(dict.fromkeys(plan.seed for plan in plans))
        sources = [self._source(seed) for seed in seeds]
        place = jnp.asarray([seeds.index(plan.seed) for plan in plans])
        starts = _stack([source.params for source in sources])
        params = jax.tree.map(lambda leaf: leaf[place], starts)
        program = _Program(self._workload, points)
        state = program.init(params)
        evaluation_seed = seed_for(seeds[0], "evaluation")
        found = [self._evaluate(params, evaluation_seed)]
        for first in range(0, num_steps, length):
            steps = range(first, first + length)
            batches = _stack([source.batches_of(steps) for source in sources])
            keys = _stack([source.keys_of(steps) for source in sources])
            params, state = program.epoch(params, state, (batches, keys), place)
            found.append(self._evaluate(params, evaluation_seed))
        rows = range(0, num_steps + 1, length)
        return [
            self._log(plan, list(zip(rows, (e.of(i) for e in found), strict=True)))
            for i, plan in enumerate(plans)
        ]

    def _source(self, seed: int) -> "_Source":
        batches = self._site.modules.data.open_batches(
            self._request("train", seed_for(seed, "data"))
        )
        key = self._backend.keys(key_numbers(seed, "init", count=2))[0]
        params, _ = self._workload.init_model_fn(key)
        return _Source(params, batches, StepKeys(self._backend, seed))

    def _request(self, split: Split, seed: int) -> DataRequest:
        return DataRequest(
            folder=self._plan.settings.data_folder,
            split=split,
            splits=self._definition.splits,
            batch_size=self._definition.default_batch_size,
            seed=seed,
            config=self._definition.data,
            drop_last=self._definition.drop_last_batch,
        )

    def _batches(self, split: Split, seed: int) -> list[Any]:
        if (split, seed) not in self._splits:
            found = self._site.modules.data.open_batches(self._request(split, seed))
            self._splits[split, seed] = [
                found.batch(i) for i in range(found.num_batches or 0)
            ]
        return self._splits[split, seed]

    def _example_outputs(self, params: Any, batch: Any) -> Any:
        logits, _ = self._workload.model_fn(
            params, batch, {}, spec.ForwardPassMode.EVAL, None, update_batch_norm=False
        )
        loss = self._workload.loss_fn(batch["targets"], logits, batch["weights"])
        metrics: Any = self._site.modules.metrics
        return metrics.outputs(
            xp=jnp,
            logits=parameter_loss.split(logits)[0],
            batch=batch,
            per_example=loss["per_example"],
        )

    def _evaluate(self, params: Any, seed: int) -> "_Evaluation":
        summarise = summary_of(
            self._site.modules.metrics, self._plan.settings.data_folder
        )
        num_runs = len(jax.tree.leaves(params)[0])
        metrics: dict[str, np.ndarray] = {}
        for split in self._definition.evaluated_splits:
            outputs = [
                {name: np.asarray(x) for name, x in self._evaluator(params, b).items()}
                for b in self._batches(split, seed)
            ]
            found = [
                summarise(iter([{k: x[i] for k, x in o.items()} for o in outputs]))
                for i in range(num_runs)
            ]
            for name in found[0]:
                values = np.array([metric[name] for metric in found])
                metrics[f"{SPLIT_PREFIX[split]}/{name}"] = values
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
        finite = [np.isfinite(leaf).reshape(num_runs, -1).all(1) for leaf in leaves]
        return _Evaluation(metrics, np.all(finite, axis=0))

    def _log(self, plan: TrialPlan, rows: Sequence[tuple[int, "_Row"]]) -> Ending:
        """Writes a trial's logs, up to where it diverged."""
        ending = Ending(Outcome.NOT_REACHED, "the last epoch was reached")
        with locked(plan.folder):
            log = TrialLog(plan.folder, writes_at_end=True)
            (plan.folder / logs.OUTCOME_FILE).unlink(missing_ok=True)
            log.start(self._meta(plan), plan.settings.as_json(), plan.point)
            for step, row in rows:
                log.add_evaluation(
                    EvaluationRow(step, 0.0, 0.0, 0.0, 0.0, 0.0, row.metrics)
                )
                if not row.is_finite:
                    words = f"parameters or a loss were NaN or infinite at step {step}"
                    ending = Ending(Outcome.DIVERGED, words)
                    break
            log.finish(ending.record(caveats=[CAVEAT, _STACKED]))
        return ending

    def _meta(self, plan: TrialPlan) -> TrialMeta:
        definition = self._definition
        return TrialMeta(
            workload=definition.name,
            base_workload=definition.base_name,
            tier=definition.tier,
            framework=self._backend.name,
            target=definition.target,
            batch_size=definition.default_batch_size,
            seed=plan.seed,
            study=plan.study,
            trial=plan.trial,
            devices=Devices.from_json(self._backend.describe_devices()),
            commit=machine.commit(),
        )


@dataclass(frozen=True)
class _Source:
    """What a seed decides: the first parameters, training batches and the keys of steps."""

    params: Any
    batches: Batches
    keys: StepKeys

    def batches_of(self, steps: range) -> Any:
        """[steps, ...] of every array."""
        found = [dict(self.batches.batch(i)) for i in steps]
        return {name: np.stack([b[name] for b in found]) for name in found[0]}

    def keys_of(self, steps: range) -> Any:
        """The updates' keys, [steps, ...]."""
        return jnp.stack([jnp.asarray(self.keys(step)[1]) for step in steps])


@dataclass(frozen=True)
class _Row:
    """An evaluation of one run."""

    metrics: dict[str, float]
    is_finite: bool


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation of all runs: values by metric, [runs]."""

    metrics: dict[str, np.ndarray]
    params_are_finite: np.ndarray

    def of(self, run: int) -> _Row:
        """That of one run."""
        metrics = {name: float(values[run]) for name, values in self.metrics.items()}
        losses = [value for name, value in metrics.items() if name.endswith("loss")]
        is_finite = bool(self.params_are_finite[run]) and all(
            map(math.isfinite, losses)
        )
        return _Row(metrics, is_finite)


class _Program:
    """The training of a stack: one compiled function for an epoch."""

    def __init__(self, workload: Workload, points: Points) -> None:
        self._points = points
        self._workload = workload
        self._transformation = _family("submission_jax").transformation
        self._epoch = jax.jit(jax.vmap(self._one, in_axes=(0, 0, 0, None, 0)))

    def init(self, params: Any) -> Any:
        """The optimizer states of all runs."""
        return jax.vmap(lambda p, h: self._optimizer(h).init(p))(
            params, self._points.arrays
        )

    def epoch(self, params: Any, state: Any, data: Any, place: jax.Array) -> Any:
        """Parameters and states after an epoch; data: batches and keys, [seeds, steps, ...]."""
        return self._epoch(params, state, self._points.arrays, data, place)

    def _optimizer(self, point: Any) -> optax.GradientTransformation:
        values, table, rates = point
        return self._transformation(
            self._points.name, values, lambda count: rates[count], table
        )

    def _one(
        self, params: Any, state: Any, point: Any, data: Any, place: jax.Array
    ) -> tuple[Any, Any]:
        """An epoch of one run, whose data are those of the seed at `place`."""
        optimizer = self._optimizer(point)

        def loss_of(params: Any, batch: Any, key: Any) -> jax.Array:
            logits, _ = self._workload.model_fn(
                params,
                batch,
                {},
                spec.ForwardPassMode.TRAIN,
                key,
                update_batch_norm=True,
            )
            loss = self._workload.loss_fn(batch["targets"], logits)
            mean: jax.Array = loss["summed"] / loss["n_valid_examples"]
            return mean

        def step(carried: Any, now: Any) -> tuple[Any, None]:
            params, state = carried
            grads = jax.grad(loss_of)(params, *now)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        steps = jax.tree.map(lambda x: x[place], data)
        (params, state), _ = jax.lax.scan(step, (params, state), steps)
        return params, state


def run_all(plans: Sequence[TrialPlan], tell: Callable[[TrialPlan, str], None]) -> None:
    """Runs plans that are not finished; tells of each how it ended."""
    left = [plan for plan in plans if not is_finished(plan)]
    if not left:
        return
    backend = setup.load_backend(left[0].settings)
    workloads: dict[str, StackedRuns] = {}
    for stack in stacks_of(left):
        name = stack[0].settings.workload
        if name not in workloads:
            workloads[name] = StackedRuns(stack[0], backend)
        for plan, ending in zip(stack, workloads[name].run(stack), strict=True):
            tell(plan, ending.outcome.value)


if __name__ == "__main__":
    work(run_all)
