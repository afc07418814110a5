"""One trial: the timed loop. Read `Trial.run` from top to bottom.

What is charged to the submission is what is indented under `with clock.submission():`.
"""

import math
from typing import Any

from algoperf import spec
from algoperf.logs import EvaluationRow, Outcome
from algoperf.pipeline import InputQueue
from algoperf.runner.checkpoints.files import Checkpoint
from algoperf.runner.checkpoints.snapshot import Snapshot
from algoperf.runner.checkpoints.state import TrialCheckpoints
from algoperf.runner.clock import Phase
from algoperf.runner.outcomes import Ending
from algoperf.runner.randomness import StepKeys, key_numbers
from algoperf.runner.restart import Restart
from algoperf.runner.step_hooks import StepHook, StepView
from algoperf.runner.submission_calls import SubmissionCalls
from algoperf.runner.trial_parts import TrialParts, TrialState


class Trial:
    """Trains until the targets are reached, the budget is spent or the submission stops."""

    def __init__(self, parts: TrialParts) -> None:
        self.state = TrialState()
        self._p = parts
        self._clock = parts.clock
        self._keys = StepKeys(parts.backend, parts.seed)
        self._queue: InputQueue | None = None
        self._submission = SubmissionCalls(parts, self.state)
        self._restart: Restart | None = None  # of a resumed trial
        self._budget = parts.workload.max_allowed_runtime_sec
        self._is_stopping = False  # somebody wants the trial to end at this step
        self._checkpoints = TrialCheckpoints(
            parts, parts.checkpoint_writer, parts.checkpoint_schedule
        )
        self._earlier_data_wait = 0.0

    @property
    def data_wait_seconds(self) -> float:
        """How long the submission has waited for batches."""
        own = self._queue.wait_seconds if self._queue is not None else 0.0
        return self._earlier_data_wait + own

    @property
    def _position(self) -> int:
        """How many batches were drawn."""
        return self._queue.position if self._queue is not None else 0

    def run(self, saved: Checkpoint | None = None) -> Ending:
        """Trains from the start, or from a checkpoint, to the end."""
        try:
            self._initialise(saved)
            ending = self._ending_of_resumed() if saved is not None else None
            if self._p.steps_per_epoch and not self.state.eval_results:
                ending = self._evaluate(is_before_training=True)
            while ending is None:
                ending = (
                    self._step()
                    or self._spent()
                    or (self._evaluate() if self._is_evaluation_due() else None)
                    or (self._stop() if self._is_stopping else None)
                )
            self._finish_checkpoints()
            return ending
        finally:
            if self._queue is not None:
                self._queue.close()
            if self._p.step_hook is not None:
                self._p.step_hook.close()

    def _initialise(self, saved: Checkpoint | None) -> None:
        p, state = self._p, self.state
        with self._clock.setup():
            self._checkpoints.randomness.seed(p.seed)
            init_key, optimizer_key = p.backend.keys(
                key_numbers(p.seed, "init", count=2)
            )
            state.params, state.model_state = p.workload.init_model_fn(init_key)
            p.backend.synchronize(state.params, state.model_state)
            self._queue = p.open_queue(
                0 if saved is None else Snapshot.from_json(saved.rest).position
            )
            self._submission.draw_from(self._queue)
        # A resumed trial has paid for its optimizer state already.
        is_timed = p.rules.time_optimizer_init and saved is None
        with self._clock.submission() if is_timed else self._clock.setup():
            self._submission.init_optimizer_state(optimizer_key)
        with (
            self._clock.setup(),
            self._submission.attribute_errors_to("init_optimizer_state"),
        ):
            self._checkpoints.started_with(state)
        if saved is not None:
            with self._clock.setup():
                self._earlier_data_wait = self._checkpoints.restore(saved, state)
                self._restart = Restart.after(state.costs)
                self._submission.show(state.eval_results)

    def _step(self) -> Ending | None:
        p, state = self._p, self.state
        before = self._clock.submission_seconds
        # On the submission's clock: a device may make keys only after all it has been given.
        with self._clock.submission():
            select_key, update_key, _ = self._keys(state.global_step)
        hook = p.step_hook
        try:
            if hook is not None and hook.wants(state.global_step):
                self._observed_step(hook, select_key, update_key)
            else:
                with self._clock.submission():
                    self._submission.update(
                        self._submission.select(select_key), update_key
                    )
        except spec.TrainingCompleteError:
            state.training_complete = True
        if not state.training_complete:
            state.global_step += 1
        p.heartbeat.num_steps += 1
        if self._restart is not None:
            self._clock.refund(
                self._restart.of_step(self._clock.submission_seconds - before)
            )
        self._is_stopping = p.stop.is_set
        if p.backend.num_processes > 1:
            self._agree_with_other_processes()
        p.observers.on_step(state.global_step, self._clock)
        return None

    def _observed_step(self, hook: StepHook, select_key: Any, update_key: Any) -> None:
        """A step that a hook looks at; the submission's work is awaited on its own clock."""
        with self._clock.submission():
            batch = self._submission.select(select_key)
            self._await_submission()
        with self._clock.instruments():
            hook.before_step(self._view(batch, update_key))
        with self._clock.submission():
            self._submission.update(batch, update_key)
            self._await_submission()
        with self._clock.instruments():
            hook.after_step(self._view(batch, update_key))

    def _view(self, batch: spec.Batch, key: spec.RandomState) -> StepView:
        state = self.state
        return StepView(
            step=state.global_step,
            params=state.params,
            model_state=state.model_state,
            optimizer_state=state.optimizer_state,
            batch=batch,
            key=key,
            hyperparameters=self._p.hyperparameters,
        )

    def _agree_with_other_processes(self) -> None:
        """The clock of a run is its slowest process's, and all stop when one wants to."""
        state = self.state
        slowest, complete, stopping = self._p.backend.processes.all_reduce_max(
            [
                self._clock.submission_seconds,
                float(state.training_complete),
                float(self._is_stopping),
            ]
        )
        self._clock.advance_to(slowest)
        state.training_complete = bool(complete)
        self._is_stopping = bool(stopping)

    def _spent(self) -> Ending | None:
        seconds = self._clock.submission_seconds
        if seconds <= self._budget:
            return None
        return Ending(
            Outcome.NOT_REACHED,
            f"the budget of {self._budget:.6g} s was spent at step {self.state.global_step}",
        )

    def _is_last_step(self) -> bool:
        limit = self._p.max_global_steps
        return limit is not None and self.state.global_step >= limit

    def _is_evaluation_due(self) -> bool:
        return (
            self._is_period_over()
            or self.state.training_complete
            or self._is_last_step()
        )

    def _is_period_over(self) -> bool:
        if self._p.steps_per_epoch is not None:
            return self.state.global_step % self._p.steps_per_epoch == 0
        steps = self._p.eval_period_steps
        if steps is not None:
            return (self.state.global_step - 1) % steps == 0
        since = self._clock.submission_seconds - self.state.evaluated_at
        return since >= self._p.workload.eval_period_time_sec

    def _evaluate(self, *, is_before_training: bool = False) -> Ending | None:
        p, state = self._p, self.state
        before = self._clock.submission_seconds
        with self._clock.submission():
            if not is_before_training:
                key = self._keys(max(state.global_step - 1, 0))[2]
                self._submission.prepare_for_eval(key)
            params, model_state = self._isolated()
            self._await_submission()
        prepared_for = self._clock.submission_seconds - before
        if self._restart is not None:
            self._clock.refund(self._restart.of_prepare_for_eval(prepared_for))
        if p.backend.num_processes > 1:
            self._agree_with_other_processes()
        ending = self._spent()
        if ending is None:
            with self._clock.evaluation():
                ending = self._broken_rule()
        if ending:
            return ending
        with self._clock.evaluation():
            metrics = dict(p.evaluate(params, model_state))
            is_finite = p.backend.is_finite(params)
        reached = state.validation_reached, state.test_reached
        with self._clock.logging():
            self._record(metrics)
        if p.keep_evidence and reached != (
            state.validation_reached,
            state.test_reached,
        ):
            with self._clock.checkpoint():
                self._checkpoints.keep_evidence(state.global_step, params, model_state)
        if not is_before_training:
            self._note_costs(prepared_for)
        state.evaluated_at = self._clock.submission_seconds
        if self._checkpoints.is_due():
            self._save_checkpoint()
        elif p.backend.num_processes > 1:
            with self._clock.logging():
                p.backend.processes.barrier()
        p.heartbeat.beat()
        p.heartbeat.in_warmup = is_before_training
        return self._decide(is_finite)

    def _note_costs(self, prepared_for: float) -> None:
        """Takes note of what the submission's calls usually cost."""
        state, seconds = self.state, self._clock.submission_seconds
        state.costs.prepare_for_eval = prepared_for
        if len(state.eval_results) == (2 if self._p.steps_per_epoch else 1):
            state.costs.until_first_evaluation = seconds
            return
        num_steps = state.global_step - state.eval_results[-2][0]
        if num_steps:
            since = seconds - state.evaluated_at - prepared_for
            state.costs.step = max(since, 0.0) / num_steps

    def _save_checkpoint(self) -> None:
        # Members of the submission's own classes tell their state themselves.
        with (
            self._clock.checkpoint(),
            self._submission.attribute_errors_to("the state of its members"),
        ):
            self._checkpoints.save(self.state, self._position, self.data_wait_seconds)

    def _finish_checkpoints(self) -> None:
        """Saves the last evaluation, also where no checkpoint was due, and waits for the disk."""
        results = self.state.eval_results
        if results and results[-1][0] == self.state.global_step:
            self._save_checkpoint()
        # Not a phase of checkpoints, whose lengths are compared: the disk may be slow.
        with self._clock.logging():
            self._checkpoints.finish()

    def _isolated(self) -> tuple[Any, Any]:
        """Copies for the evaluation; charged, because classes of a submission may be asked."""
        p, state = self._p, self.state
        with self._submission.attribute_errors_to("update_params"):
            p.workload.check_params(state.params)
            return p.workload.isolated(state.params, state.model_state)

    def _await_submission(self) -> None:
        """Waits for all that the submission has enqueued; its errors surface here too."""
        p, state = self._p, self.state
        with self._submission.attribute_errors_to("update_params"):
            p.backend.synchronize(
                state.optimizer_state, state.params, state.model_state
            )

    def _stop(self) -> Ending:
        """Leaves a checkpoint of this very step, and ends."""
        step = self.state.global_step
        with self._clock.submission():
            self._await_submission()
        self._save_checkpoint()
        saved = (
            ""
            if self._checkpoints.saved_at == step
            else " (without a checkpoint of its last step)"
        )
        return Ending(
            Outcome.PREEMPTED,
            f"SIGTERM ended it after step {step}{saved}; resume it with --resume",
        )

    def _broken_rule(self) -> Ending | None:
        assert self._queue is not None
        at = f"at the evaluation after step {self.state.global_step}"
        found = self._p.stray_workers.find(self._queue.threads)
        if found:
            return Ending(
                Outcome.INVALID,
                f"a submission must not compute while the clock is stopped, but {at} there "
                f"was {', '.join(found)}; join threads and end processes before "
                "update_params returns",
            )
        breaches = self._p.find_breaches()
        if breaches:
            return Ending(
                Outcome.INVALID, f"rules were broken {at}: {'; '.join(breaches[:5])}"
            )
        return None

    def _record(self, metrics: dict[str, float]) -> None:
        p, state = self._p, self.state
        state.eval_results.append((state.global_step, metrics))
        self._submission.show([(state.global_step, metrics)])
        target = p.workload.definition.target
        state.validation_reached |= target.reached(metrics, "validation")
        state.test_reached |= target.reached(metrics, "test")
        row = EvaluationRow(
            state.global_step,
            self._clock.submission_seconds,
            evaluation_seconds=self._clock.seconds(Phase.EVALUATION),
            logging_seconds=self._clock.seconds(Phase.LOGGING),
            checkpoint_seconds=self._clock.seconds(Phase.CHECKPOINT),
            total_seconds=self._clock.total_seconds,
            memory=p.memory(),
            metrics=metrics,
        )
        if p.log is not None:
            p.log.add_evaluation(row)
        p.observers.on_evaluation(row)

    def _decide(self, is_finite: bool) -> Ending | None:
        state = self.state
        at = (
            f"at step {state.global_step}, after {self._clock.submission_seconds:.6g} s"
        )
        if not is_finite:
            return Ending(Outcome.DIVERGED, f"parameters were NaN or infinite {at}")
        for name, value in state.eval_results[-1][1].items():
            if name.endswith("loss") and not math.isfinite(value):
                return Ending(Outcome.DIVERGED, f"{name} was {value} {at}")
        is_reached = state.validation_reached and state.test_reached
        if is_reached and self._p.stop_at_targets:
            return Ending(Outcome.REACHED, f"validation and test targets reached {at}")
        if state.training_complete:
            return Ending(
                Outcome.NOT_REACHED, f"the submission ended its training {at}"
            )
        if self._is_last_step():
            return Ending(Outcome.NOT_REACHED, f"the step limit was reached {at}")
        return None

    def _ending_of_resumed(self) -> Ending | None:
        """The ending of a trial that was killed between its last checkpoint and its end."""
        state = self.state
        if not state.eval_results or state.eval_results[-1][0] != state.global_step:
            return None
        return self._decide(self._p.backend.is_finite(state.params))
