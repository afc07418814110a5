"""How a submission's files are read, found and imported, for `algoperf.submission`."""
