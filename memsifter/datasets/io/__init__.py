"""Files of a source: fetched, read row by row, and their fields checked."""
