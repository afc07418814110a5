"""What the reference algorithms share: batch sizes, schedules, the training step."""
