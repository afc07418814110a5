"""The report of a leaderboard: one content, written as HTML, Markdown, JSON, CSV or LaTeX."""
