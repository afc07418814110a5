"""What a checkpoint holds beside its arrays: a trial's progress, written and read here."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from algoperf.runner.trial_parts import Costs


@dataclass(frozen=True)
class Snapshot:
    """The progress of a trial after a step."""

    ranks: Sequence[Mapping[str, Any]]  # for each process, what `ranks.of_rank` needs
    position: int  # in the data: batches drawn
    eval_results: Sequence[tuple[int, Mapping[str, float]]]
    validation_reached: bool
    test_reached: bool
    training_complete: bool
    evaluated_at: float  # submission seconds at the last evaluation
    data_wait: float  # seconds, of the whole trial
    costs: Costs
    seconds: Mapping[str, float]  # by phase: see `Clock.accounting`
    rows: Mapping[str, Any] = field(default_factory=dict)  # see `rows.table_of`

    def to_json(self) -> dict[str, Any]:
        """As JSON object."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return content | {"costs": dataclasses.asdict(self.costs)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Snapshot":
        """The inverse of `to_json`; KeyError or TypeError for what is none."""
        known = {f.name for f in dataclasses.fields(cls)} - {"rows"}
        values = {name: content[name] for name in known}
        results = [(int(step), dict(m)) for step, m in values.pop("eval_results")]
        costs = Costs(**values.pop("costs"))
        rows = content.get("rows", {})
        return cls(**values, eval_results=results, costs=costs, rows=rows)
