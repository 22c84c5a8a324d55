"""The numbers that stand for the parts of a split in column `part`."""

TRAIN = 0
VALID = 1
TEST = 2
