"""Runs trials: the timed loop, the clock, evaluation, tuning, checkpoints and experiments."""
