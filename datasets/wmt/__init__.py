"""WMT: pairs of German and English sentences."""
