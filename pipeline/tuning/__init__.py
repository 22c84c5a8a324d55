"""`glta tune`: the study of glta/tuning/study.py with its stages, its display and its records."""
