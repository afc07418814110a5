"""The NadamW reference algorithm."""
