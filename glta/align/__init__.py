"""Stages 2 and 3 of GLTA: graph nodes become tokens of a frozen language model, its states become item logits."""
