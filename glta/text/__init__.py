"""Texts of items and users: clean item texts, and words that describe users, from training items only."""
