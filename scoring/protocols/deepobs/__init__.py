"""The protocol of DeepOBS: result folders, indicators, tables and figures."""
