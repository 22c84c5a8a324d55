"""Test what a stage's script is told about threads and instructions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.engine.processor import AVX2, instructions, thread_limits

SUMS = """
import hashlib, numpy, torch
torch.manual_seed(0)
x = torch.randn(500, 300)
found = [torch.softmax(x, 1), torch.from_numpy(numpy.exp(x.double().numpy()))]
found += [torch.from_numpy(x.double().numpy().T @ x.double().numpy())]
print(torch.backends.cpu.get_cpu_capability(), hashlib.md5(b"".join(
    part.numpy().tobytes() for part in found)).hexdigest())
"""


@pytest.fixture
def processor(tmp_path):
    def write(flags: str):
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags} smep\n")
        return tmp_path / "cpuinfo"

    return write


def test_the_instructions_are_the_same_on_old_and_new_processors(processor):
    old = instructions({}, processor("avx avx2 bmi"))
    assert old == instructions({}, processor("avx avx2 avx512f amx_tile")) == AVX2
    assert instructions({"GLTA_INSTRUCTIONS": "avx2"}, processor("avx avx2")) == AVX2
    portable = instructions({"GLTA_INSTRUCTIONS": "portable"}, processor("avx avx2"))
    assert portable == AVX2 | {"MKL_CBWR": "COMPATIBLE"}
    assert instructions({"GLTA_INSTRUCTIONS": "native"}, processor("avx avx2")) == {}


def test_a_processor_without_avx2_is_not_told_to_use_it(processor):
    assert instructions({}, processor("neon asimd avx")) == {}


def test_another_value_is_one_line(processor):
    with pytest.raises(ValueError, match=r"GLTA_INSTRUCTIONS=fast: .* avx2, portable, native"):
        instructions({"GLTA_INSTRUCTIONS": "fast"}, processor("avx2"))


def test_the_libraries_obey():
    told = os.environ | instructions({}) | thread_limits(1)
    if not instructions({}):
        pytest.skip("this processor has no AVX2")
    done = subprocess.run([sys.executable, "-c", SUMS], env=told, capture_output=True, text=True)
    # a name that a library does not know would be a warning there
    assert (done.stdout.split()[0], done.stderr) == ("AVX2", "")
    # nothing of the user's own settings changes a digit
    told |= {"DNNL_MAX_CPU_ISA": "DEFAULT", "MKL_ENABLE_INSTRUCTIONS": "AVX512"}
    again = subprocess.run([sys.executable, "-c", SUMS], env=told, capture_output=True, text=True)
    assert again.stdout == done.stdout
