"""The LAMB reference algorithm."""
