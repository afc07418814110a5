"""Protocols of other benchmarks, each in a folder of its own."""
