"""The heavy ball reference algorithm."""
