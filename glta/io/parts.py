"""The numbers that stand for the parts of a split."""

TRAIN, VALID, TEST = 0, 1, 2
