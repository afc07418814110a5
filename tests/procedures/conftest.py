"""Fixtures for tests that run the toy benchmark in processes of its own."""

from toy_fixtures import toy_in_processes, written

__all__ = ["toy_in_processes", "written"]
