"""Semantic Convergence as a method: the contract, lists, tasks and errors."""

from glta.testing.contract import MethodContract

QUICK = {
    "align.max_items": 8,
    "align.learning_rate": 1e-2,
    "align.code_learning_rate": 1e-2,
    "align.batch_size": 32,
    "align.dropout": 0.4,
    "align.steps": 80,
    "align.evaluate_every": 40,
    "codes.levels": 2,
    "codes.codes": 5,
    "codes.text_dim": 2,
}
VALUES = {f"settings.semantic-convergence.{key}": value for key, value in QUICK.items()} | {
    "causal.width": 16,
    "causal.layers": 1,
    "causal.heads": 2,
    "causal.hidden_dim": 32,
}


class TestSemanticConvergence(MethodContract):
    name = "semantic-convergence"
    values = VALUES
