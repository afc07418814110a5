"""A static site of leaderboards: plain HTML files that link to each other and to nothing else."""
