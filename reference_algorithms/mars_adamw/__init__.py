"""The MARS-AdamW reference algorithm."""
