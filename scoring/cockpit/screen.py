"""Assigns instruments to panels, with a sentence on how to read each panel."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..figures import Chart
from . import dials
from .record import Record


@dataclass(frozen=True)
class Panel:
    """A group of related instruments; `kind` sets the colour of its header."""

    title: str
    kind: str
    reading: str
    charts: Sequence[Chart]


def panels(record: Record) -> list[Panel]:
    """All panels of a trial, in the order of the page."""
    return [
        Panel(
            "Step size",
            "blue",
            "Alpha left of 0: steps are too short; right of 1: too long.",
            (
                dials.alphas(record),
                dials.distances(record),
                dials.time_series(record, "GradNorm", "Gradient norm", log=True),
            ),
        ),
        Panel(
            "Gradients",
            "orange",
            "Large tests: noisy gradients. Full end bins: exploding or unscaled inputs.",
            (
                dials.gradient_tests(record),
                dials.histogram(record),
                dials.joint_histogram(record),
            ),
        ),
        Panel(
            "Curvature",
            "green",
            "A rising largest eigenvalue bounds the learning rate ever more tightly.",
            (
                dials.time_series(record, "HessMaxEV", "Largest eigenvalue", log=True),
                dials.time_series(record, "HessTrace", "Trace"),
                dials.time_series(record, _tic(record), "TIC", log=True),
            ),
        ),
        Panel(
            "Training",
            "plain",
            "The learning rate, and the loss and accuracy so far.",
            (dials.learning_rate(record), dials.performance(record)),
        ),
        *_auxiliary(record),
    ]


def _tic(record: Record) -> str:
    return "TICDiag" if record.series("TICDiag") else "TICTrace"


def _auxiliary(record: Record) -> list[Panel]:
    named = (
        ("MeanGSNR", "Mean signal-to-noise ratio"),
        ("CABS", "Suggested batch size (CABS)"),
        ("EarlyStopping", "Early stopping: stop above 0"),
    )
    charts = [
        dials.time_series(record, name, title)
        for name, title in named
        if record.series(name)
    ]
    if not charts:
        return []
    return [
        Panel("Auxiliary", "plain", "Further quantities that were requested.", charts)
    ]


def facts(record: Record) -> list[tuple[str, str]]:
    """The facts shown above the panels, as (name, value)."""
    header = record.measured.header
    steps = sorted(record.measured.steps)
    outcome = record.trial.outcome
    state = "running" if outcome is None else outcome.value
    found = [
        ("State", state),
        ("Last measured step", str(steps[-1]) if steps else "none yet"),
        ("Instruments", f"{header.get('configuration')}, {header.get('schedule')}"),
        ("Framework", str(header.get("devices", {}).get("framework", ""))),
    ]
    hyperparameters = record.trial.hyperparameters or {}
    found += [
        (name, f"{value:.4g}")
        for name, value in hyperparameters.items()
        if isinstance(value, int | float)
    ]
    return [(name, value) for name, value in found if value]


def remarks(record: Record) -> list[str]:
    """One sentence for each reason for which quantities were refused."""
    refused: dict[str, list[str]] = {}
    for name, why in record.measured.refused.items():
        refused.setdefault(why, []).append(name)
    return [f"{', '.join(sorted(names))}: {why}." for why, names in refused.items()]
