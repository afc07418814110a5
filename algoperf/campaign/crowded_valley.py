"""The stages of the Crowded Valley protocol; the later ones see what came of the earlier.

One folder holds everything: `<schedule>/oneshot/`, `<schedule>/tuned/` and `<schedule>/seeds/` have
trials in the usual layout, whose study is the seed and whose number is that of the point; `points/`
has the lists, and `retuning/` what is tuned a second time.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.campaign import crowded_valley_points as points
from algoperf.campaign import shared
from algoperf.campaign.crowded_valley_points import BUDGETS, TUNING_SEED, Point
from algoperf.errors import BadSettings
from algoperf.prepared import MANIFEST
from algoperf.procedures import rehearsal
from algoperf.runner import door
from algoperf.runner.plan import TrialPlan
from algoperf.runner.randomness import seed_for
from algoperf.runner.settings import Settings

ONE_SHOT, TUNED, SEEDS = "oneshot", "tuned", "seeds"
# What the study tuned a second time, and with which seeds.
RETUNED, RETUNING_SEED = ("rmsprop", "adadelta"), 100
SEEDS_OF = "sgd"  # the seed study's optimizer
_FAMILY = "crowded_valley"


@dataclass(frozen=True)
class Protocol:
    """What is to run."""

    optimizers: Sequence[str]
    problems: Sequence[str]
    folder: Path
    data_dir: Path
    framework: str
    budget: str = "small"  # the largest; smaller ones are parts of it
    schedules: Sequence[str] = (points.CONSTANT,)
    form: str = "faithful"  # of schedules
    mode: str = "final"  # how settings are chosen
    num_seeds: int = 10
    first_seed: int = TUNING_SEED
    num_best: int = 10  # of the medium settings, which the refined ranges span
    jobs: int = 1
    is_stacked: bool = False  # many points in one program: JAX, not exact
    has_seed_study: bool = False  # SGD with a grid of learning rates, and every seed
    has_retuning: bool = False  # two optimizers, small budget, constant schedule

    @property
    def seeds(self) -> range:
        """The first is that of the tuning runs and of the draws."""
        return range(self.first_seed, self.first_seed + self.num_seeds)

    @property
    def budgets(self) -> list[str]:
        """Those with tuning, up to the largest."""
        names = list(BUDGETS)
        return names[1 : names.index(self.budget) + 1]

    @property
    def most_runs(self) -> int:
        """Of all stages; fewer where two budgets have the same winner."""
        of_cell = self.num_seeds + BUDGETS[self.budget]
        of_cell += len(self.budgets) * (self.num_seeds - 1)
        cells = len(self.optimizers) * len(self.problems) * len(self.schedules)
        more = self.retuning().most_runs if self.has_retuning else 0
        if self.has_seed_study:
            more += len(points.sweep()) * self.num_seeds * len(self.problems)
        return cells * of_cell + more

    def retuning(self) -> "Protocol":
        """What is tuned a second time, as a protocol of its own."""
        return replace(
            self,
            optimizers=RETUNED,
            folder=self.folder / "retuning",
            budget="small",
            schedules=(points.CONSTANT,),
            first_seed=RETUNING_SEED,
            has_seed_study=False,
            has_retuning=False,
        )


@dataclass
class Found:
    """What has come of a protocol so far."""

    runs: list[Any] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    is_stopped: bool = False


def check(protocol: Protocol, say: Callable[[str], None]) -> None:
    """Finds what is wrong before anything starts; prepares small data that are shipped."""
    for name in protocol.problems:
        definition = registry.definition(name)
        if definition.epochs is None:
            raise BadSettings(
                f"{name} is not trained by epochs, as the schedules of this protocol need "
                "it. Choose problems of the tier deepobs; `algoperf list` shows them."
            )
        folder = protocol.data_dir / definition.prepared_name
        is_prepared = not definition.needs_data or (folder / MANIFEST).exists()
        if definition.is_mini and not is_prepared:
            say(f"preparing the data of {name} in {folder}")
            rehearsal.prepare_shipped(definition, protocol.data_dir)
    stages = Stages(protocol)
    for name in protocol.problems:
        door.check_before_start(
            stages.settings(protocol.optimizers[0], name, points.CONSTANT, ONE_SHOT)
        )
    shared.left([*stages.oneshot(), *stages.tuning(BUDGETS[protocol.budget])])


def run(protocol: Protocol, say: Callable[[str], None]) -> Found:
    """Runs what is missing of all stages; what is there already is left as it is."""
    stages, found = Stages(protocol), Found()
    medium, large = BUDGETS["medium"], BUDGETS["large"]
    wanted = BUDGETS[protocol.budget]
    first = [*stages.oneshot(), *stages.tuning(min(wanted, medium))]
    done = _run(first, protocol, say, found, "one-shot and tuning")
    if done and wanted == large:
        stages.refine(_grid(protocol, stages, first), found)
        first += stages.tuning(large)[len(stages.tuning(medium)) :]
        done = _run(first, protocol, say, found, "refined tuning")
    if done:
        repeats = stages.repeats(_grid(protocol, stages, first))
        done = _run(repeats, protocol, say, found, "repeats of the best")
        first += repeats
    if done and protocol.has_seed_study:
        seeds = stages.seeds()
        done = _run(seeds, protocol, say, found, "seeds")
        first += seeds
    found.runs, left_out = stages.read(first)
    found.left_out += left_out
    if done and protocol.has_retuning:
        say("tuning again:")
        again = run(protocol.retuning(), say)
        module = _module("cells")
        found.runs += [replace(item, study=module.RETUNING) for item in again.runs]
        found.left_out += again.left_out
        found.problems += again.problems
        found.is_stopped = again.is_stopped
    return found


def _run(
    plans: Sequence[TrialPlan],
    protocol: Protocol,
    say: Callable[[str], None],
    found: Found,
    stage: str,
) -> bool:
    """Whether the stage was run to its end."""
    if shared.left(plans):
        say(f"stage: {stage}")
    report = shared.run(plans, protocol.jobs, say, is_stacked=protocol.is_stacked)
    found.is_stopped = report.is_stopped
    found.problems += report.problems
    return not (report.is_stopped or report.problems)


def _grid(
    protocol: Protocol,
    stages: "Stages",
    plans: Sequence[TrialPlan],
) -> Any:
    runs, _ = stages.read(plans)
    return _module("cells").grid_of(runs, protocol.mode)


def _module(name: str) -> Any:
    return registry.scoring_module(f"protocols.crowded_valley.{name}")


class Stages:
    """The trials of each stage."""

    def __init__(self, protocol: Protocol) -> None:
        self._p = protocol
        # Lists that were refined: by optimizer, problem, schedule.
        self._refined: dict[tuple[str, str, str], list[Point]] = {}
        self._settings: dict[tuple[str, str, str, str], Settings] = {}

    def oneshot(self) -> list[TrialPlan]:
        """The defaults, with every seed."""
        return [
            self._plan(cell, ONE_SHOT, seed, 1, points.member(cell[0]).defaults)
            for seed in self._p.seeds
            for cell in self._cells()
        ]

    def tuning(self, number: int) -> list[TrialPlan]:
        """The first points of the list, with the tuning seed; refined ones where known."""
        lists = {cell: self._list(cell)[:number] for cell in self._cells()}
        return [
            self._plan(cell, TUNED, self._p.first_seed, sample + 1, listed[sample])
            for sample in range(number)
            for cell, listed in lists.items()
            if sample < len(listed)
        ]

    def refine(self, grid: Any, found: Found) -> None:
        """Appends to every list points from the ranges of its best medium settings."""
        for optimizer, problem, schedule in self._cells():
            cell = grid.cell(problem, optimizer, "medium", schedule)
            if cell is None:
                found.left_out.append(f"{optimizer} has no complete run on {problem}")
                continue
            best = [s.runs[0].point for s in cell.ranked[: self._p.num_best]]
            refined = points.refined(optimizer, best, self._p.first_seed)
            self._refined[optimizer, problem, schedule] = refined

    def repeats(self, grid: Any) -> list[TrialPlan]:
        """The best point of each budget, with all seeds but the first."""
        plans: dict[Path, TrialPlan] = {}
        for key in self._cells():
            optimizer, problem, schedule = key
            for budget in self._p.budgets:
                cell = grid.cell(problem, optimizer, budget, schedule)
                if cell is None:
                    continue
                point = dict(cell.ranked[0].runs[0].point)
                sample = self._list(key).index(point)
                for seed in self._p.seeds[1:]:
                    plan = self._plan(key, TUNED, seed, sample + 1, point)
                    plans[plan.folder] = plan
        return sorted(plans.values(), key=lambda plan: plan.study)

    def seeds(self) -> list[TrialPlan]:
        """SGD at every learning rate of a grid, with every seed."""
        return [
            self._plan((SEEDS_OF, problem, points.CONSTANT), SEEDS, seed, number, point)
            for seed in self._p.seeds
            for problem in self._p.problems
            for number, point in enumerate(points.sweep(), start=1)
        ]

    def read(self, plans: Sequence[TrialPlan]) -> tuple[list[Any], list[str]]:
        """The runs that trials have become, and phrases for those that are none."""
        runs: list[Any] = []
        left_out: list[str] = []
        experiments = _module("experiments")
        for plan in plans:
            trial = shared.trial_of(plan)
            if trial is None:
                continue
            stage = plan.settings.experiment_dir
            scan = experiments.runs_of(
                [trial],
                schedule=stage.parent.name,
                stage=stage.name,
                budgets=self._budgets_of(stage.name),
            )
            runs += scan.runs
            left_out += scan.left_out
        return runs, left_out

    def _budgets_of(self, stage: str) -> list[str]:
        return ["small"] if stage == SEEDS else self._p.budgets

    def settings(
        self, optimizer: str, problem: str, schedule: str, stage: str
    ) -> Settings:
        """The settings of a cell's trials in a stage."""
        key = optimizer, problem, schedule, stage
        if key not in self._settings:
            framework = self._p.framework
            path = registry.wing_folder("reference_algorithms") / _FAMILY
            listed = points.draws(optimizer, BUDGETS["medium"], self._p.first_seed)
            self._settings[key] = Settings(
                path / f"submission_{framework}.py",
                framework,
                problem,
                self._p.folder / schedule / stage,
                optimizer,
                data_dir=self._p.data_dir,
                search_space=shared.points_file(
                    self._p.folder / "points" / f"{optimizer}.json",
                    json.dumps(listed, indent=1) + "\n",
                ),
                on_existing="resume",
                save_checkpoints=False,
                keep_evidence=False,
            )
        return self._settings[key]

    def _cells(self) -> list[tuple[str, str, str]]:
        p = self._p
        return [
            (o, q, s) for q in p.problems for s in p.schedules for o in p.optimizers
        ]

    def _list(self, cell: tuple[str, str, str]) -> list[Point]:
        medium = points.draws(cell[0], BUDGETS["medium"], self._p.first_seed)
        return medium + self._refined.get(cell, [])

    def _plan(
        self,
        cell: tuple[str, str, str],
        stage: str,
        seed: int,
        number: int,
        values: Any,
    ) -> TrialPlan:
        optimizer, problem, schedule = cell
        epochs = registry.definition(problem).epochs
        assert epochs is not None
        point = points.complete(
            optimizer, values, schedule, self._p.form, epochs.number
        )
        # As published, a seed is one for all optimizers and points: the same start and data.
        own = seed_for(_FAMILY, problem, seed)
        settings = self.settings(optimizer, problem, schedule, stage)
        return TrialPlan(settings, seed, number, own, point)
