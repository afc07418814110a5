"""Our own folders of the protocol, as runs.

`<schedule>/<stage>/<optimizer>/study_<seed>/<problem>_<framework>/trial_<n>`, where the stage is
`oneshot`, `tuned` or `seeds`; in the second, trial n is sample n - 1 of the tuning list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from algoperf.logs import Trial

from ..deepobs import experiments
from .cells import MAIN, ONE_SHOT, SEEDS, SMALL, Scan, ValleyRun, budgets_of

_ADDED = {"optimizer", "schedule", "schedule_form", "num_epochs"}  # to a point


def runs_of(
    trials: Iterable[Trial], *, schedule: str, stage: str, budgets: Sequence[str]
) -> Scan:
    """The runs that trials of a stage are; what is none is in `left_out`.

    budgets: those that were run to their end; a sample of a small one is one of all.
    """
    found = Scan()
    for trial in trials:
        scan = experiments.runs_of([trial])
        found.left_out.extend(scan.left_out)
        for run in scan.runs:
            point = {k: v for k, v in run.point.items() if k not in _ADDED}
            run = replace(run, point=point)
            own = tuple(
                b
                for b in _budgets(stage, trial.id.trial - 1)
                if b in (ONE_SHOT, *budgets)
            )
            study = SEEDS if stage == SEEDS else MAIN
            found.runs.append(ValleyRun(run, own, schedule, study))
    return found


def _budgets(stage: str, sample: int) -> tuple[str, ...]:
    if stage == ONE_SHOT:
        return (ONE_SHOT,)
    return (SMALL,) if stage == SEEDS else budgets_of(sample)
