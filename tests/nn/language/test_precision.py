"""The type of a language model's numbers, and a warning where it is slow."""

import pytest
import torch

from glta.nn.language import precision
from glta.nn.language.precision import cpu_has_bfloat16, number_type

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
ZEN3 = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}


@pytest.fixture
def on(monkeypatch):
    """Pretend to be on a CPU with these capabilities."""
    precision._warn.cache_clear()

    def use(found: dict) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)

    yield use
    precision._warn.cache_clear()


def test_types(on):
    on(ZEN3 | {"avx512_bf16": True})
    assert number_type("auto", CPU) == number_type("float32", CUDA) == torch.float32
    assert number_type("auto", CUDA) == number_type("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("found", "has"),
    [
        (ZEN3, False),
        (ZEN3 | {"avx512_bf16": True}, True),
        (ZEN3 | {"amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
    ],
)
def test_a_cpu_without_bfloat16_is_warned_of_once(found, has, on, capsys):
    on(found)
    assert cpu_has_bfloat16() is has
    for _ in range(2):
        number_type("bfloat16", CPU)
    assert capsys.readouterr().err.count("set float32 or auto") == (not has)


def test_other_choices_are_no_reason_to_speak(on, capsys):
    on(ZEN3)
    number_type("auto", CPU)
    number_type("float32", CPU)
    number_type("bfloat16", CUDA)
    assert not capsys.readouterr().err


def test_this_cpu_is_known():
    assert "architecture" in torch.cpu.get_capabilities()
