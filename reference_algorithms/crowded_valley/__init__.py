"""The fifteen optimizers of the Crowded Valley study, as one family."""
