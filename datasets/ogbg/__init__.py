"""ogbg-molpcba: molecules as graphs, with 128 binary labels each."""
