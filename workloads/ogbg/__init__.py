"""Molecular properties of ogbg-molpcba with a graph network."""
