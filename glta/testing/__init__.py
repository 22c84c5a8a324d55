"""Test your own method: a small dataset, and the tests that every method must pass."""
