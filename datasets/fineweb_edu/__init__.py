"""FineWeb-Edu, sample-10BT: packed tokens of web pages."""
