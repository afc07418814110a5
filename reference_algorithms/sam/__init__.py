"""The SAM reference algorithm, with AdamW as its base."""
