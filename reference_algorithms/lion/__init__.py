"""The Lion reference algorithm."""
