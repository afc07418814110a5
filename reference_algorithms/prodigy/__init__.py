"""The Prodigy reference algorithm."""
