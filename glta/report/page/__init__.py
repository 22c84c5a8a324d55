"""Put the report's numbers, words and figures into one HTML page."""
