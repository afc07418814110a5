"""Many trials, one after the other, in one process: for protocols that time nothing.

The loop is that of a timed trial (`runner.trial`), so a trial's results are those of a process of
its own, to the last bit. Shared between trials are what takes a process seconds: the framework,
the workload, the submission's module, and batches of evaluations. Left out are guards, watchdogs
and checkpoints; evaluations are written when a trial ends. Its seconds say nothing, and its
outcome has a caveat that says so.

As a program: `python -m algoperf.procedures.shared_runs` reads plans from its standard input, one a
line, and writes a line for each that it has run.
"""

import dataclasses
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from algoperf import exit_status, logs
from algoperf.backend import Arrays, Backend
from algoperf.errors import AlgoPerfError
from algoperf.logs import TrialLog, write_atomically
from algoperf.pipeline import Batches, DataRequest
from algoperf.plugins import DataModule
from algoperf.runner import setup
from algoperf.runner.clock import Clock
from algoperf.runner.evaluation import Evaluator
from algoperf.runner.fairness.stray_workers import StrayWorkers
from algoperf.runner.observers import Observers, Scalars
from algoperf.runner.outcomes import (
    TRACEBACK_FILE,
    Ending,
    ending_of,
    traceback_text,
)
from algoperf.runner.plan import FINAL_OUTCOMES, TrialPlan
from algoperf.runner.randomness import seed_for
from algoperf.runner.settings import Settings
from algoperf.runner.setup import LoadedSubmission, Site
from algoperf.runner.supervision.folder_lock import locked
from algoperf.runner.supervision.watchdog import Heartbeat
from algoperf.runner.trial import Trial
from algoperf.runner.trial_parts import TrialParts
from algoperf.runner.tuning import as_hyperparameters
from algoperf.trial_meta import TrialMeta, utc_now

CAVEAT = "ran in a process shared with other trials, so its times say nothing"
_MOST_KEPT_BYTES = 256 * 2**20  # of evaluation batches


def is_finished(plan: TrialPlan) -> bool:
    """Whether a trial has an outcome after which it is not run again."""
    record = logs.read_outcome(plan.folder)
    return record is not None and record.outcome in FINAL_OUTCOMES


@dataclass
class SharedRuns:
    """Runs trials of one framework in this process."""

    backend: Backend
    _sites: dict[str, Site] = field(default_factory=dict)
    _loaded: dict[tuple[Path, str], LoadedSubmission] = field(default_factory=dict)
    _metas: dict[Settings, TrialMeta] = field(default_factory=dict)

    def run(self, plan: TrialPlan) -> Ending:
        """Runs a trial to its end and logs it; what it had logged before is replaced.

        AlgoPerfError where what was given is wrong.
        """
        site = self._site(plan)
        loaded = self._submission(plan, site)
        with locked(plan.folder):
            log = TrialLog(plan.folder, writes_at_end=True)
            (plan.folder / logs.OUTCOME_FILE).unlink(missing_ok=True)
            (plan.folder / TRACEBACK_FILE).unlink(missing_ok=True)
            log.start(
                self._meta(plan, site, loaded), plan.settings.as_json(), plan.point
            )
            site.workload.metrics_logger = Scalars(log.append_scalar_metrics)
            clock = Clock()
            ending = self._train(self._parts(plan, site, loaded, clock, log), plan)
            log.finish(ending.record(clock.accounting(), caveats=[CAVEAT]))
            return ending

    def _train(self, parts: TrialParts, plan: TrialPlan) -> Ending:
        try:
            return Trial(parts).run()
        except Exception as error:
            write_atomically(plan.folder / TRACEBACK_FILE, traceback_text(error))
            return ending_of(error)

    def _site(self, plan: TrialPlan) -> Site:
        name = plan.settings.workload
        if name not in self._sites:
            site = setup.bind_workload(plan, self.backend, Heartbeat())
            is_computed = not site.workload.definition.needs_data
            data = KeptBatches(site.modules.data, is_computed=is_computed)
            modules = dataclasses.replace(site.modules, data=data)
            self._sites[name] = dataclasses.replace(site, modules=modules)
        return self._sites[name]

    def _submission(self, plan: TrialPlan, site: Site) -> LoadedSubmission:
        key = plan.settings.submission_path, plan.settings.workload
        if key not in self._loaded:
            definition = site.workload.definition
            self._loaded[key] = setup.load_submission(plan, definition, self.backend)
        return self._loaded[key]

    def _meta(self, plan: TrialPlan, site: Site, loaded: LoadedSubmission) -> TrialMeta:
        """The trial's meta data, of which only a few change from trial to trial."""
        if plan.settings not in self._metas:
            meta = setup.describe(plan, site, loaded, self.backend)
            self._metas[plan.settings] = meta
        return dataclasses.replace(
            self._metas[plan.settings],
            seed=plan.seed,
            study=plan.study,
            trial=plan.trial,
            began=utc_now(),
        )

    def _parts(
        self,
        plan: TrialPlan,
        site: Site,
        loaded: LoadedSubmission,
        clock: Clock,
        log: TrialLog,
    ) -> TrialParts:
        settings, modules = plan.settings, site.modules
        evaluator = Evaluator(
            site.workload,
            self.backend,
            modules.data,
            modules.metrics,
            data_folder=settings.data_folder,
            seed=seed_for(plan.seed, "evaluation"),
        )
        epochs = setup.epochs_of(site.workload.definition, loaded.batch_size)
        return TrialParts(
            workload=site.workload,
            backend=self.backend,
            submission=loaded.functions,
            rules=settings.rules,
            hyperparameters=as_hyperparameters(plan.point) if plan.point else None,
            evaluate=evaluator.evaluate,
            open_queue=lambda position: setup.open_queue(
                plan, site, self.backend, loaded.batch_size, position
            ),
            clock=clock,
            log=log,
            observers=Observers(),
            stray_workers=_Unwatched(),
            seed=plan.seed,
            identity={},
            max_global_steps=setup.last_step(settings, epochs),
            save_checkpoints=False,
            stop_at_targets=epochs.steps_of_each is None,
            steps_per_epoch=epochs.steps_of_each,
            eval_period_steps=settings.eval_period_steps,
        )


class _Unwatched(StrayWorkers):
    """Nothing is timed, so nobody looks for work off the clock."""

    def __init__(self) -> None:
        pass

    def find(self, expected: Any = ()) -> list[str]:
        """Nothing."""
        return []


class KeptBatches:
    """A workload's `data` module that keeps the batches of evaluations for the next trial."""

    def __init__(self, data: DataModule, *, is_computed: bool) -> None:
        """is_computed: examples are not read from a disk."""
        self._data = data
        self._is_computed = is_computed
        self._kept: dict[DataRequest, _Kept] = {}

    def open_batches(self, request: DataRequest) -> Batches:
        """See the module's."""
        if request in self._kept:
            return self._kept[request]
        batches = self._data.open_batches(request)
        if request.is_training:
            return _Computed(batches) if self._is_computed else batches
        kept = _Kept(batches)
        if kept.num_bytes > _MOST_KEPT_BYTES:
            return batches
        while self.num_bytes + kept.num_bytes > _MOST_KEPT_BYTES:
            del self._kept[next(iter(self._kept))]  # the oldest
        self._kept[request] = kept
        return kept

    @property
    def num_bytes(self) -> int:
        """Of all that is kept."""
        return sum(kept.num_bytes for kept in self._kept.values())


class _Kept:
    """Batches in memory."""

    is_at_hand = True

    def __init__(self, batches: Batches) -> None:
        self.num_batches = batches.num_batches
        self._batches = [batches.batch(i) for i in range(batches.num_batches or 0)]
        self.num_bytes = sum(
            array.nbytes for batch in self._batches for array in batch.values()
        )

    def batch(self, index: int) -> Arrays:
        """See `Batches.batch`."""
        return self._batches[index]


class _Computed:
    """Training batches that are computed, not read: no thread needs to read them ahead."""

    is_at_hand = True
    num_batches: int | None = None

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def batch(self, index: int) -> Arrays:
        """See `Batches.batch`."""
        return self._batches.batch(index)


def run_all(plans: list[TrialPlan], tell: Callable[[TrialPlan, str], None]) -> None:
    """Runs plans of one framework that are not finished; tells of each how it ended."""
    shared: SharedRuns | None = None
    for plan in plans:
        if not is_finished(plan):
            shared = shared or SharedRuns(setup.load_backend(plan.settings))
            ending = shared.run(plan)
            tell(plan, ending.outcome.value)
    if shared is not None:
        shared.backend.close()


def work(
    run: Callable[[list[TrialPlan], Callable[[TrialPlan, str], None]], None],
) -> NoReturn:
    """Runs the plans on standard input, and ends the process."""
    plans = [TrialPlan.loads(line) for line in sys.stdin if line.strip()]
    code = exit_status.OK

    def tell(plan: TrialPlan, outcome: str) -> None:
        print(f"{plan.folder}\t{outcome}", flush=True)

    try:
        run(plans, tell)
    except AlgoPerfError as error:
        print(f"algoperf: {error}", file=sys.stderr)
        code = exit_status.WRONG_INPUT
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tearing down the frameworks would take up to a second


if __name__ == "__main__":
    work(run_all)
