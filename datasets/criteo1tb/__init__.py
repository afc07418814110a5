"""Criteo 1TB click logs: 24 days of advertisements, clicked or not."""
