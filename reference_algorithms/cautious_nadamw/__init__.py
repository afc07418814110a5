"""The Cautious NadamW reference algorithm."""
