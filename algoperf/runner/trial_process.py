"""Runs one trial; as a program, in a process of its own.

`python -m algoperf.runner.trial_process OFFICE` runs the plan in that folder (see `launch`). It
exits with 0 when the trial ended regularly, 1 when it failed (the logs say how), 2 when what
was given is wrong, 75 when SIGTERM stopped it.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from algoperf import exit_status
from algoperf.backend import Backend
from algoperf.errors import AlgoPerfError
from algoperf.logs import Outcome, TrialLog, write_atomically, write_outcome
from algoperf.pipeline import InputQueue
from algoperf.runner import cockpit, debugging, outcomes, profiling, setup
from algoperf.runner.checkpoints import rows
from algoperf.runner.checkpoints.background import BackgroundWriter
from algoperf.runner.checkpoints.files import Checkpoint
from algoperf.runner.checkpoints.schedule import Period, Schedule
from algoperf.runner.checkpoints.snapshot import Snapshot
from algoperf.runner.clock import Clock
from algoperf.runner.fairness.phases import WatchedBoard
from algoperf.runner.fairness.stamps import Reporter
from algoperf.runner.launch import Office, read_launch
from algoperf.runner.observers import Observers, Scalars
from algoperf.runner.outcomes import (
    STACKS_FILE,
    TRACEBACK_FILE,
    Ending,
    ending_of,
    traceback_text,
)
from algoperf.runner.plan import TrialPlan
from algoperf.runner.randomness import seed_for
from algoperf.runner.setup import LoadedSubmission, Site, Watched
from algoperf.runner.step_hooks import StepHook
from algoperf.runner.supervision import processes
from algoperf.runner.supervision.folder_lock import locked
from algoperf.runner.supervision.heartbeat import Board
from algoperf.runner.supervision.memory import Memory
from algoperf.runner.supervision.preemption import StopRequest
from algoperf.runner.supervision.watchdog import (
    Heartbeat,
    Overtime,
    Watch,
    Watchdog,
)
from algoperf.runner.trial import Trial
from algoperf.runner.trial_parts import TrialParts
from algoperf.runner.tuning import as_hyperparameters
from algoperf.trial_meta import Devices


@dataclass(frozen=True)
class OwnProcess:
    """That this process runs one trial and nothing else, and may be ended with it."""

    office: Office | None = None  # None: the user's own torchrun started it
    launcher: psutil.Process | None = None  # without which the trial has no purpose
    started: float | None = None  # on the clock of `time.perf_counter`


@dataclass(frozen=True)
class _Supervision:
    """What sees to it that a trial ends."""

    clock: Clock
    phases: WatchedBoard  # of the clock
    reporter: Reporter | None  # to the launcher
    heartbeat: Heartbeat
    overtime: Overtime
    stop: StopRequest
    board: Board | None


def run_trial(
    plan: TrialPlan, backend: Backend, own_process: OwnProcess | None = None
) -> Ending:
    """Runs a trial to its end and logs it; raises only what is wrong with the input."""
    with StopRequest().listen() as stop:
        supervision = _supervision(plan, backend, own_process, stop)
        clock = supervision.clock
        with contextlib.ExitStack() as stack:
            with clock.setup():
                site = setup.bind_workload(plan, backend, supervision.heartbeat)
                budget = site.workload.max_allowed_runtime_sec
                supervision.overtime.budget_seconds = budget
                watched = setup.watch_for_cheats(plan, site, backend, clock)
                stack.enter_context(watched.audit_hook)
                if own_process is not None:
                    watchdog = _watchdog(plan, backend, supervision, own_process)
                    with watched.stray_workers.harness():
                        stack.enter_context(watchdog)
                        stack.enter_context(watched.sampler)
            if supervision.reporter is not None:
                watched.audit_hook.tell_from_child = supervision.reporter.note
            if own_process is not None:
                supervision.phases.listeners[:0] = [watched.sampler, watched.workers]
            office = own_process.office if own_process else None
            return _Run(plan, backend, site, watched, supervision, office).run()


def _supervision(
    plan: TrialPlan, backend: Backend, own: OwnProcess | None, stop: StopRequest
) -> _Supervision:
    office = own.office if own else None
    board = Board(office.board_file(backend.rank)) if office else None
    phases = WatchedBoard(board.numbers if board else None)
    clock = Clock(started=own.started if own else None, board=phases)
    reporter = None
    if office is not None and backend.rank == 0 and office.pipe.exists():
        reporter = Reporter(office.pipe, clock)
        phases.listeners.append(reporter)
    heartbeat = Heartbeat()
    overtime = Overtime(clock, heartbeat, stop, plan.settings.notice_seconds)
    return _Supervision(clock, phases, reporter, heartbeat, overtime, stop, board)


def _watchdog(
    plan: TrialPlan, backend: Backend, supervision: _Supervision, own: OwnProcess
) -> Watchdog:
    rank, office = backend.rank, own.office
    if office is None:
        plan.folder.mkdir(parents=True, exist_ok=True)
        stacks = plan.folder / STACKS_FILE.format(rank=rank)
    else:
        stacks = office.stacks_file(rank)

    def record(ending: Ending) -> None:
        if office is not None:
            office.tell(rank, outcome=ending.outcome.value, reason=ending.reason)
        if rank == 0:
            seconds = supervision.clock.accounting()
            write_outcome(plan.folder, ending.record(seconds))

    watch = Watch(
        stacks,
        board=supervision.board,
        launcher=own.launcher,
        hang_seconds=plan.settings.hang_seconds,
        is_one_of_many=backend.num_processes > 1,
        on_end=record,
    )
    return Watchdog(supervision.heartbeat, supervision.overtime, watch)


@dataclass(frozen=True)
class _Run:
    """A trial from the import of its submission to its outcome."""

    plan: TrialPlan
    backend: Backend
    site: Site
    watched: Watched
    supervision: _Supervision
    office: Office | None

    def run(self) -> Ending:
        """Loads the submission, on its clock, and trains; touches no folder before that."""
        plan, backend, clock = self.plan, self.backend, self.supervision.clock
        definition = self.site.workload.definition
        with clock.submission():
            loaded = setup.load_submission(plan, definition, backend)
        is_first = backend.rank == 0
        with locked(plan.folder) if is_first else contextlib.nullcontext():
            with clock.setup():
                identity = setup.identity_of(plan, loaded, backend)
                saved = setup.latest_checkpoint(plan.folder, identity)
            if saved is not None:
                clock.resume_from(Snapshot.from_json(saved.rest).seconds)
                self._say("resumed")
            with clock.setup():
                log = self._open_log(loaded, saved) if is_first else None
            return self._train(loaded, identity, saved, log)

    def _looked_at(self, ending: Ending) -> Ending:
        """The ending, unless something was noticed since the last look before an evaluation."""
        found = self.watched.noticed()
        if not found or ending.outcome is Outcome.INVALID:
            return ending
        text = "; ".join(found[:5])
        return Ending(Outcome.INVALID, f"rules were broken before the end: {text}")

    def _say(self, kind: str) -> None:
        if self.supervision.reporter is not None:
            self.supervision.reporter.say(kind)

    def _open_log(self, loaded: LoadedSubmission, saved: Checkpoint | None) -> TrialLog:
        (self.plan.folder / TRACEBACK_FILE).unlink(missing_ok=True)
        if saved is not None and (restored := rows.restore(self.plan.folder, saved)):
            print(
                f"algoperf: {restored} evaluations that the logs lacked were restored from "
                "the checkpoint.",
                file=sys.stderr,
            )
        meta = setup.describe(self.plan, self.site, loaded, self.backend)
        return setup.open_log(self.plan, meta, saved.step if saved else 0)

    def _observers(self, log: TrialLog | None) -> Observers:
        if log is None:
            return Observers()
        with self.watched.stray_workers.harness():
            observers = setup.observers_of(
                self.plan, self.site.workload, self.supervision.reporter
            )
        self.site.workload.metrics_logger = Scalars(log.append_scalar_metrics)
        for warning in Devices.from_json(self.backend.describe_devices()).warnings:
            observers.warn(warning)
        return observers

    def _train(
        self,
        loaded: LoadedSubmission,
        identity: Mapping[str, Any],
        saved: Checkpoint | None,
        log: TrialLog | None,
    ) -> Ending:
        with self.supervision.clock.setup():
            observers = self._observers(log)
            hook = self._step_hook(loaded, saved)
            writer = self._checkpoint_writer()
            parts = self._parts(loaded, identity, log, observers, hook, writer)
            trial = Trial(parts)
        try:
            ending = self._looked_at(trial.run(saved))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and self.office is None:
                raise  # Ctrl-C of the user's
            ending = ending_of(error)
            self._keep_traceback(error)
            if self.plan.settings.pdb:
                debugging.post_mortem(error)
        finally:
            self._say("ended")
            writer.close()
            if log is not None:
                log.flush_scalars()
            observers.close()
        if ending.outcome is Outcome.INVALID and self.supervision.reporter is not None:
            # What is written down here could be changed; the launcher's word counts.
            self.supervision.reporter.say("breach", text=ending.reason)
        if self.office is not None:
            self.office.tell(
                self.backend.rank, outcome=ending.outcome.value, reason=ending.reason
            )
        if log is not None:
            seconds = self.supervision.clock.accounting()
            shares = outcomes.time_shares(seconds, trial.data_wait_seconds)
            caveats = outcomes.caveats(shares, self.watched.audit_hook.started)
            log.finish(ending.record(seconds, shares, caveats))
        return ending

    def _parts(
        self,
        loaded: LoadedSubmission,
        identity: Mapping[str, Any],
        log: TrialLog | None,
        observers: Observers,
        hook: StepHook | None,
        writer: BackgroundWriter,
    ) -> TrialParts:
        plan, settings = self.plan, self.plan.settings
        point, site, supervision = plan.point, self.site, self.supervision
        step_hint = site.workload.step_hint
        epochs = setup.epochs_of(site.workload.definition, loaded.batch_size)
        return TrialParts(
            workload=site.workload,
            backend=self.backend,
            submission=loaded.functions,
            rules=settings.rules,
            hyperparameters=None if point is None else as_hyperparameters(point),
            evaluate=site.evaluator.evaluate,
            open_queue=lambda position: self._open_queue(loaded, position, writer),
            clock=supervision.clock,
            log=log,
            observers=observers,
            stray_workers=self.watched.stray_workers,
            seed=plan.seed,
            identity=identity,
            max_global_steps=step_hint
            if settings.target_setting
            else setup.last_step(settings, epochs),
            save_checkpoints=settings.save_checkpoints,
            checkpoint_schedule=Schedule(Period.parse(settings.checkpoint_every)),
            checkpoint_writer=writer,
            keep_evidence=settings.keep_evidence,
            stop_at_targets=not settings.target_setting
            and epochs.steps_of_each is None,
            steps_per_epoch=epochs.steps_of_each,
            step_hook=hook,
            eval_period_steps=settings.eval_period_steps,
            find_breaches=self.watched.breaches,
            memory=Memory(self.backend),
            heartbeat=supervision.heartbeat,
            stop=supervision.stop,
        )

    def _step_hook(
        self, loaded: LoadedSubmission, saved: Checkpoint | None
    ) -> StepHook | None:
        """The instruments or the profiler that were asked for."""
        plan = self.plan
        if plan.settings.profile_dir is not None:
            return profiling.profiler_of(plan) if self.backend.rank == 0 else None
        return cockpit.recorder_of(
            plan.settings,
            self.site.workload,
            self.backend,
            None if plan.point is None else as_hyperparameters(plan.point),
            seed=seed_for(plan.seed, "instruments"),
            folder=plan.folder,
            first_step=saved.step if saved else 0,
        )

    def _checkpoint_writer(self) -> BackgroundWriter:
        writer = BackgroundWriter()
        with self.watched.stray_workers.harness():
            writer.start()
        return writer

    def _open_queue(
        self, loaded: LoadedSubmission, position: int, writer: BackgroundWriter
    ) -> InputQueue:
        queue = setup.open_queue(
            self.plan, self.site, self.backend, loaded.batch_size, position
        )

        def threads() -> Collection[threading.Thread]:
            return {*queue.threads, *writer.threads}

        self.watched.audit_hook.harness_threads = threads
        self.watched.workers.harness_threads = threads
        return queue

    def _keep_traceback(self, error: BaseException) -> None:
        """The whole traceback goes into the logs; people are shown one sentence."""
        path = self.plan.folder / TRACEBACK_FILE
        # The process that failed first tells why; others fail because it is gone.
        if path.parent.is_dir() and not path.exists():
            write_atomically(path, traceback_text(error))


def main(arguments: list[str]) -> int:
    """Runs the plan in the office that is named by the first argument."""
    office = Office(Path(arguments[0]))
    # A terminal's Ctrl-C is the launcher's to answer; here only a submission could raise it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    plan = TrialPlan.loads(office.plan_file.read_text())
    launch = read_launch(office)
    processes.adopt_orphans()
    own = OwnProcess(office, _process(launch["launcher"]), launch["at"])
    try:
        backend = setup.load_backend(plan.settings)
        try:
            status = run_trial(plan, backend, own).exit_status
        finally:
            backend.close()
            processes.end_descendants()
    except AlgoPerfError as error:
        office.tell(_rank(), wrong_input=str(error))
        status = exit_status.WRONG_INPUT
    return status


def _rank() -> int:
    """This process's rank, also before a backend was loaded."""
    return int(os.environ.get("RANK", "0"))


def _process(number: int) -> psutil.Process:
    """The launcher; where it has ended already, this process ends too."""
    try:
        return psutil.Process(number)
    except psutil.NoSuchProcess:
        sys.exit(exit_status.FAILED)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Right after the last word: nothing that a submission has registered runs any more, and
    # tearing down the frameworks' modules would take up to a second.
    os._exit(code)
