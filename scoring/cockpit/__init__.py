"""Shows what a trial's instruments measured: as a page, live in a browser, or in a terminal."""
