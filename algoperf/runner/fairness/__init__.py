"""Finds submissions that work off the clock, read what they must not or replace our code."""
