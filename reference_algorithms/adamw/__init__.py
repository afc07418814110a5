"""The AdamW reference algorithm."""
