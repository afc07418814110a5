"""A competitive time-to-result benchmark for neural-network training algorithms.

Importing this package imports no framework. The submission API is `algoperf.spec`; the command
line is `algoperf.cli`.
"""

__version__ = "0.1.0"
