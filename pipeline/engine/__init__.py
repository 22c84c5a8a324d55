"""One set of stages, run by Snakemake or by DVC, recorded in MLflow: docs/engines.md says how."""
