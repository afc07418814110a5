"""Calls the functions of a submission: their arguments, what they return, whose an error is."""

import contextlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

from algoperf import spec
from algoperf.pipeline import InputQueue
from algoperf.runner.clock import Phase
from algoperf.runner.outcomes import SubmissionError, attribute_errors_to
from algoperf.runner.trial_parts import TrialParts, TrialState


class SubmissionCalls:
    """Calls a trial's submission. Which clock runs meanwhile is the caller's to say."""

    def __init__(self, parts: TrialParts, state: TrialState) -> None:
        self._p = parts
        self.state = state
        self._types = parts.workload.model_params_types
        self._queue: InputQueue | None = None
        self._batches: Iterator[spec.Batch] = iter(())
        # The submission's own copy: what it does to it changes nothing that is logged.
        self._shown_results: list[tuple[int, dict[str, float]]] = []

    def draw_from(self, queue: InputQueue) -> None:
        """Where `data_selection` draws its batches from."""
        self._queue = queue
        self._batches = map(_same, queue)  # nothing but an iterator

    def show(self, results: list[tuple[int, dict[str, float]]]) -> None:
        """Adds results of evaluations, with their steps, to what the submission is shown."""
        self._shown_results += [(step, dict(metrics)) for step, metrics in results]

    def init_optimizer_state(self, key: spec.RandomState) -> None:
        """Makes the optimizer state."""
        p, state = self._p, self.state
        with self.attribute_errors_to("init_optimizer_state"):
            state.optimizer_state = p.submission.init_optimizer_state(
                p.workload,
                state.params,
                state.model_state,
                p.hyperparameters,
                key,
            )
            p.backend.synchronize(state.optimizer_state)

    def select(self, select_key: spec.RandomState) -> spec.Batch:
        """The batch that `data_selection` returns."""
        p, state = self._p, self.state
        with self.attribute_errors_to("data_selection"):
            batch: spec.Batch = p.submission.data_selection(
                p.workload,
                self._batches,
                state.optimizer_state,
                state.params,
                state.model_state,
                p.hyperparameters,
                state.global_step,
                select_key,
            )
        return batch

    def update(self, batch: spec.Batch, update_key: spec.RandomState) -> None:
        """Takes over what `update_params` returns."""
        p, state = self._p, self.state
        extra = (
            {"train_state": self._train_state()}
            if p.submission.takes_train_state
            else {}
        )
        with self.attribute_errors_to("update_params"):
            returned = p.submission.update_params(
                workload=p.workload,
                current_param_container=state.params,
                current_params_types=self._types,
                model_state=state.model_state,
                hyperparameters=p.hyperparameters,
                batch=batch,
                loss_type=p.workload.loss_type,
                optimizer_state=state.optimizer_state,
                eval_results=self._shown_results,
                global_step=state.global_step,
                rng=update_key,
                **extra,
            )
        self._take("update_params", returned)

    def attribute_errors_to(
        self, function: str
    ) -> contextlib.AbstractContextManager[None]:
        """Within, errors are those of that function of the submission, but for the data's."""
        queue = self._queue
        return attribute_errors_to(
            function,
            self.state.global_step,
            self._p.submission.path,
            is_ours=lambda error: queue is not None and error is queue.failure,
        )

    def _take(self, function: str, returned: object) -> None:
        """Takes over what update_params or prepare_for_eval returned."""
        if not isinstance(returned, tuple) or len(returned) != 3:
            raise SubmissionError(
                function,
                self.state.global_step,
                "it must return (optimizer_state, params, model_state), not "
                f"{type(returned).__name__}.",
            )
        state = self.state
        state.optimizer_state, state.params, state.model_state = returned

    def _train_state(self) -> Mapping[str, Any]:
        state = self.state
        seconds = self._p.clock.submission_seconds
        return types.MappingProxyType(
            {
                "accumulated_submission_time": seconds,
                "accumulated_eval_time": self._p.clock.seconds(Phase.EVALUATION),
                "accumulated_logging_time": self._p.clock.seconds(Phase.LOGGING),
                "last_eval_time": max(state.evaluated_at, 0.0),
                "validation_goal_reached": state.validation_reached,
                "test_goal_reached": state.test_reached,
                "is_time_remaining": seconds < self._p.workload.max_allowed_runtime_sec,
                "training_complete": state.training_complete,
            }
        )

    def prepare_for_eval(self, key: spec.RandomState) -> None:
        """Takes over what `prepare_for_eval` returns, where the submission has it."""
        p, state = self._p, self.state
        if p.submission.prepare_for_eval is None:
            return
        with self.attribute_errors_to("prepare_for_eval"):
            returned = p.submission.prepare_for_eval(
                workload=p.workload,
                current_param_container=state.params,
                current_params_types=self._types,
                model_state=state.model_state,
                hyperparameters=p.hyperparameters,
                loss_type=p.workload.loss_type,
                optimizer_state=state.optimizer_state,
                eval_results=self._shown_results,
                global_step=state.global_step,
                rng=key,
            )
        self._take("prepare_for_eval", returned)


def _same(batch: spec.Batch) -> spec.Batch:
    return batch
