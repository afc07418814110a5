"""A trial's checkpoints: what is in them, and how a trial goes on from one.

The trial stands still while its state is copied to the host; the copy is written in the
background (see `background`).
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from algoperf.errors import BadCheckpoint
from algoperf.logs import write_atomically
from algoperf.runner.checkpoints import evidence, rows
from algoperf.runner.checkpoints import files as checkpoint
from algoperf.runner.checkpoints import ranks as rank_states
from algoperf.runner.checkpoints.background import BackgroundWriter
from algoperf.runner.checkpoints.schedule import Schedule
from algoperf.runner.checkpoints.snapshot import Snapshot
from algoperf.runner.randomness import ProcessRandomness
from algoperf.runner.trial_parts import TrialParts, TrialState

REFUSAL_FILE = "not_resumable.txt"  # beside the checkpoints: why there are none
_RANDOM = "harness/random/"  # of the arrays of a checkpoint
_HOOK = "step_hook"


class TrialCheckpoints:
    """Writes the state of a trial, all processes' of it, and puts it back."""

    def __init__(
        self,
        parts: TrialParts,
        writer: BackgroundWriter | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        """`writer`: None writes at once; `schedule`: None is the default one."""
        self.randomness = ProcessRandomness(parts.backend)
        self.saved_at: int | None = None  # step of the newest checkpoint
        self._needs: Mapping[str, str] | None = (
            None  # what a new state has; see `leaves`
        )
        self._p = parts
        self._can_save = parts.save_checkpoints
        self._writer = writer or BackgroundWriter()
        self._schedule = schedule or Schedule()

    def started_with(self, state: TrialState) -> None:
        """Takes down what a new state has, so that the first checkpoint can tell what a
        resumed trial would lack. To be called after `init_optimizer_state`, if at all.
        """
        if not self._can_save:
            return
        try:
            _, leaves = self._p.backend.to_leaves(self._saved_part(state))
        except BadCheckpoint:
            return  # told when a checkpoint is due: by then it may be gone
        self._needs = leaves.get("needs", {})

    def keep_evidence(self, step: int, params: Any, model_state: Any) -> None:
        """Saves what was evaluated after a step that reached a target."""
        p = self._p
        if p.log is not None:
            self._writer.wait()
            evaluated = evidence.copy_of(
                p.backend, step, (params, model_state), p.identity
            )
            folder = p.log.folder
            self._writer.run(lambda: evidence.keep(folder, evaluated))

    def is_due(self) -> bool:
        """Whether a checkpoint should be written at this evaluation; all processes agree."""
        p = self._p
        self._schedule.written(self._writer.take_cpu_seconds())
        is_due = self._can_save and self._schedule.is_due()
        if p.backend.num_processes == 1:
            return is_due
        return bool(p.backend.processes.broadcast(is_due))

    def save(self, state: TrialState, position: int, data_wait_seconds: float) -> None:
        """Copies the state, and has it written; all processes wait for the first's copy.

        position: in the data. data_wait_seconds: of the trial until now.
        """
        p = self._p
        if self._can_save and self.saved_at != state.global_step:
            with self._patience(), self._schedule.saving():
                self._writer.wait()  # so that there is never a second copy
                self._write(state, position, data_wait_seconds)
        if p.backend.num_processes > 1:
            p.backend.processes.barrier()

    def finish(self) -> None:
        """Returns in all processes when everything is written; raises what went wrong."""
        with self._patience():
            self._writer.wait()
        if self._p.backend.num_processes > 1:
            self._p.backend.processes.barrier()

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        """A large state may take long to copy and to write."""
        heartbeat = self._p.heartbeat
        heartbeat.in_warmup, was_in_warmup = True, heartbeat.in_warmup
        yield
        heartbeat.beat()
        heartbeat.in_warmup = was_in_warmup

    def _write(self, state: TrialState, position: int, data_wait: float) -> None:
        p, problem = self._p, ""
        try:
            own = self._own(state)
        except BadCheckpoint as error:
            own, problem = ({}, {}), str(error)
        if any(p.backend.processes.gather(bool(problem))):
            reason = problem or "another process could not save its state"
            p.observers.warn(f"This trial cannot be resumed: {reason}")
            self._can_save = False
            self._keep_reason(reason)
            return
        arrays, ranks = rank_states.join(p.backend, *own)
        self.saved_at = state.global_step
        if p.log is None:
            return
        snapshot = Snapshot(
            ranks=ranks,
            position=position,
            eval_results=[(step, dict(found)) for step, found in state.eval_results],
            validation_reached=state.validation_reached,
            test_reached=state.test_reached,
            training_complete=state.training_complete,
            evaluated_at=state.evaluated_at,
            data_wait=data_wait,
            costs=state.costs,
            seconds=p.clock.accounting(),
            rows=rows.table_of(p.log.folder),
        )
        saved = checkpoint.Checkpoint(
            state.global_step, arrays, snapshot.to_json(), p.identity
        )
        folder = p.log.folder / checkpoint.FOLDER
        self._writer.run(lambda: checkpoint.save(folder, saved))
        self._schedule.saved(sum(array.nbytes for array in arrays.values()))

    def _keep_reason(self, reason: str) -> None:
        if self._p.log is not None:
            folder = self._p.log.folder / checkpoint.FOLDER
            write_atomically(folder / REFUSAL_FILE, f"{reason}\n")

    def _own(self, state: TrialState) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arrays and JSON of this process's part of the state."""
        arrays, leaves = self._p.backend.to_leaves(self._saved_part(state))
        self._check_needs(leaves.get("needs", {}))
        random_arrays, random_rest = self.randomness.state()
        arrays = arrays | {f"{_RANDOM}{k}": v for k, v in random_arrays.items()}
        return arrays, {"leaves": leaves, "random": random_rest}

    def _check_needs(self, needs: Mapping[str, str]) -> None:
        """Refuses what neither the checkpoint holds nor a new state has."""
        if self._needs is None:
            return
        for path, what in needs.items():
            if self._needs.get(path) != what:
                raise BadCheckpoint(
                    f"{path!r} is {what}, which was made after init_optimizer_state and "
                    "cannot be saved. Make it in init_optimizer_state, or define it at the "
                    "top level of a module."
                )

    def restore(self, saved: checkpoint.Checkpoint, state: TrialState) -> float:
        """Puts `state` and the generators back; returns the seconds of waiting for data.

        Raises `BadCheckpoint` with the checkpoint's path where it does not fit.
        """
        try:
            return self._restore(saved, state)
        except (BadCheckpoint, LookupError, TypeError, ValueError) as error:
            kind = "" if isinstance(error, BadCheckpoint) else type(error).__name__
            text = f"{kind}: {error}" if kind else str(error)
            raise BadCheckpoint(f"Cannot go on from {saved.path}: {text}") from error

    def _restore(self, saved: checkpoint.Checkpoint, state: TrialState) -> float:
        backend, snapshot = self._p.backend, Snapshot.from_json(saved.rest)
        arrays, own = rank_states.of_rank(backend.rank, saved.arrays, snapshot.ranks)
        random_arrays = {
            name.removeprefix(_RANDOM): arrays.pop(name)
            for name in list(arrays)
            if name.startswith(_RANDOM)
        }
        restored = backend.from_leaves(self._saved_part(state), arrays, own["leaves"])
        self.randomness.restore(random_arrays, own["random"])
        state.params = restored["params"]
        state.model_state = restored["model_state"]
        state.optimizer_state = restored["optimizer_state"]
        state.global_step = saved.step
        state.eval_results = [(s, dict(m)) for s, m in snapshot.eval_results]
        state.validation_reached = snapshot.validation_reached
        state.test_reached = snapshot.test_reached
        state.training_complete = snapshot.training_complete
        state.evaluated_at = snapshot.evaluated_at
        state.costs = snapshot.costs
        # A run may be resumed with instruments that it had not before, or without.
        if self._p.step_hook is not None and _HOOK in restored:
            self._p.step_hook.restore(restored[_HOOK])
        return float(snapshot.data_wait)

    def _saved_part(self, state: TrialState) -> dict[str, Any]:
        hook = self._p.step_hook
        return {
            "params": state.params,
            "model_state": state.model_state,
            "optimizer_state": state.optimizer_state,
            **({} if hook is None else {_HOOK: hook.state()}),
        }
