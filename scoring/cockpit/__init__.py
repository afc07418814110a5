"""What the instruments of a trial measured, as a page, in a browser live, or in a terminal."""
