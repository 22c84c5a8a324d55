"""Small catalogues of which much is known."""

import numpy as np

from glta.nn.quantize.settings import CodeSettings


def catalogue(num_items: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw vectors (I, 6) and text states (I, 5); both say to which of six groups an item belongs.

    The last item has no text, and the one before no vector.
    """
    rng = np.random.default_rng(seed)
    group = np.arange(num_items) % 6
    vectors = 3 * rng.normal(size=(6, 6))[group] + rng.normal(size=(num_items, 6)) + 5
    text = rng.normal(size=(6, 5))[group] + 0.3 * rng.normal(size=(num_items, 5))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    text[-1] = 0
    vectors[-2] = 0
    return vectors.astype(np.float32), text.astype(np.float32)


def small(**values) -> CodeSettings:
    """Make settings that suit a small catalogue."""
    tiny = {
        "levels": 3,
        "codes": 8,
        "text_dim": 3,
        "hidden_dim": 16,
        "code_dim": 4,
        "batch_size": 32,
        "steps": 60,
        "evaluate_every": 10,
        "learning_rate": 3e-3,
    }
    return CodeSettings(**(tiny | values))
