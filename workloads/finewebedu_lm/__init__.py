"""FineWeb-Edu: next-token prediction with a decoder-only Transformer."""
