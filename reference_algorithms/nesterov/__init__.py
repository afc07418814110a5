"""The Nesterov reference algorithm."""
