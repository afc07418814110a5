"""The test problems of DeepOBS, as a family of workloads; see README.md."""
