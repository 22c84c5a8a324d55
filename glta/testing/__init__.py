"""What the tests of a method need, yours too: a small dataset, and the contract of methods."""
