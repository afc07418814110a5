"""The protocol of the Crowded Valley study: published logs, cells, analyses, tables and figures."""
