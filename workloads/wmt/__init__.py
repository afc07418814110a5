"""WMT German to English with a Transformer."""
