"""Let Snakemake and DVC run the same stages, recorded in MLflow (docs/engines.md)."""
