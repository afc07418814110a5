"""The Schedule-Free AdamW reference algorithm, version 2."""
