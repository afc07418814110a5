"""The chart of performance profiles."""

import numpy as np

from .. import drawing
from ..drawing import Scale
from ..figures import Chart
from ..leaderboard import Leaderboard
from ..profiles import profile_steps
from ..tables import TIMES
from ..times import Measure

_MEASURE_WORDS = {"seconds": "time", "steps": "steps"}
_PROFILE_SIZE = (440, 320)


def profile_chart(board: Leaderboard, measure: Measure) -> Chart:
    """Share of base workloads solved within a factor of the best, by submission."""
    limit = board.pool.ruleset.max_performance_ratio
    width, height = _PROFILE_SIZE
    x = Scale(1.0, limit, 48, width - 16)
    y = Scale(0.0, 1.0, height - 46, 22)
    what = _MEASURE_WORDS[measure]
    parts = [
        drawing.y_axis(y, x.start, x.end),
        drawing.x_axis(
            x, y.end, y.start, f"{what} to target, as a multiple of the best", 7
        ),
        drawing.text(4, 12, "share of base workloads", kind="name"),
    ]
    # The first submissions are drawn last, so that they lie on top.
    ratios = list(enumerate(board.ratios(measure).values()))
    parts += [_profile(board, series, of, x, y) for series, of in reversed(ratios)]
    return Chart(
        title=f"By {what}",
        description=(
            f"Step curves from 1 to {limit:g} times the best {what} to target; higher is "
            f"better. {len(board.entries)} submissions on {len(board.pool.bases)} base "
            "workloads. The table of performance ratios has the same numbers."
        ),
        width=width,
        height=height,
        body="".join(parts),
    )


def _profile(
    board: Leaderboard, series: int, ratios: np.ndarray, x: Scale, y: Scale
) -> str:
    taus, shares = profile_steps(ratios, x.high)
    corners = drawing.step_path(taus.tolist(), shares.tolist(), x, y)
    parts = [drawing.path(corners, series, "profile", dashed=True)]
    for tau, share in zip(taus.tolist(), shares.tolist(), strict=True):
        here = [
            name
            for name, ratio in zip(board.pool.bases, ratios.tolist(), strict=True)
            if ratio == tau
        ]
        if here:
            tip = (
                f"{board.entries[series].submission}\n{tau:.3f} {TIMES} the best: "
                f"{', '.join(here)}\n{round(share * len(ratios))} of {len(ratios)} "
                "workloads so far"
            )
            parts.append(drawing.dot(x.at(tau), y.at(share), series, tip))
    return drawing.group(series, parts)
