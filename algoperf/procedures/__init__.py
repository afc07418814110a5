"""Procedures made of runs: calibration, target setting, rehearsal. They know no command line."""
