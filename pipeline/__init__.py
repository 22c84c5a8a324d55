"""One short script a stage, and the engine that runs them."""
