"""Word error rate and CTC loss per token."""

from .._speech.metrics import outputs, summarise, summariser

__all__ = ["outputs", "summarise", "summariser"]
