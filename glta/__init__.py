"""GLTA: graph-language token alignment for recommendation.

Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
