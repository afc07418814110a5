"""The Muon reference algorithm, with NadamW for what is no hidden matrix."""
