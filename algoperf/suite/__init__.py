"""The laptop suite: compares training algorithms by steps to target on the mini workloads."""
