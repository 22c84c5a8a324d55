"""Draw the figures of the report as SVG."""
