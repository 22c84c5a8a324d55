"""Compare the evaluated methods, draw figures, and write one HTML page that needs no network."""
