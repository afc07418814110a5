"""Keeps a trial in bounds: processes, memory, hangs, preemption, the folder's lock."""
