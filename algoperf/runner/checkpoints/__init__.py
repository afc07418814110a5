"""Checkpoints of trials: the files, what a trial puts into them, what differs between processes."""
