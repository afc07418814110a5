"""Analyses of the benchmark paper (arXiv 2306.07179) over logs: tables and figures."""
