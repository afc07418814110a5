"""Submissions that tests write, for the toy benchmark."""

from toy_fixtures import written

__all__ = ["written"]
