"""Accelerated MR reconstruction on fastMRI knee single-coil with a U-Net."""
