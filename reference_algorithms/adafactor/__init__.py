"""The Adafactor reference algorithm."""
