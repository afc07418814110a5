"""The single-worker DiLoCo reference algorithm."""
