"""When trials ran, as they recorded it."""

import datetime
from collections.abc import Iterable

from algoperf.logs import Trial


def moment(text: str | None) -> datetime.datetime | None:
    """A moment in UTC; None for what is no date."""
    if text is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    try:
        return found.astimezone(datetime.UTC)
    except OverflowError:  # the first or last day of the calendar
        return None


def span(trials: Iterable[Trial]) -> str:
    """The first and the last day on which trials ran; empty if none recorded any."""
    found = [moment(text) for t in trials for text in (t.meta.began, _ended(t))]
    days = sorted({f"{m:%Y-%m-%d}" for m in found if m is not None})
    if not days:
        return ""
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _ended(trial: Trial) -> str | None:
    return trial.ended.ended if trial.ended else None
