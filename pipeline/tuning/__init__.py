"""Run `glta tune`: the study of glta/tuning/study.py, with its stages, display and records."""
