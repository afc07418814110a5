"""The AdEMAMix reference algorithm."""
