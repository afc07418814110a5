"""The NorMuon reference algorithm."""
