"""`glta tune`: the study of glta/tuning.py with its stages, its display and its records."""
