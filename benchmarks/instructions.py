"""Measure a language model's training step with each value of GLTA_INSTRUCTIONS.

python -m benchmarks.instructions

The model has the size of all-MiniLM-L6-v2, with random weights; 16 texts of 96 tokens, one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from pipeline.engine.processor import LEVELS, thread_limits

ROUNDS = 3


def step_seconds() -> float:
    """Return the processor seconds of the fastest of four steps, forward and backward."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    size = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    model = BertModel(BertConfig(intermediate_size=1536, vocab_size=2000, **size))
    tokens = torch.randint(0, 2000, (16, 96))
    found = []
    for _ in range(5):
        started = time.process_time()
        model.zero_grad()
        model(tokens).last_hidden_state.pow(2).mean().backward()
        found.append(time.process_time() - started)
    return min(found[1:])


def main() -> None:
    found: dict[str, list[float]] = {level: [] for level in LEVELS}
    for _ in range(ROUNDS):
        for level, told in LEVELS.items():
            env = os.environ | thread_limits(1) | told
            cmd = [sys.executable, "-m", "benchmarks.instructions", "step"]
            done = subprocess.run(cmd, env=env, check=True, capture_output=True, text=True)
            found[level].append(float(done.stdout))
    base = min(found["native"])
    for level, seconds in found.items():
        print(f"{level:10} {min(seconds):.2f} s a step, {min(seconds) / base:.2f} times native")


if __name__ == "__main__":
    if sys.argv[1:] == ["step"]:
        print(step_seconds())
    else:
        main()
