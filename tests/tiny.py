"""The smallest language models: random weights, two layers, a tokenizer of whole words; written as
safetensors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from glta.testing.blocks import NUM_ITEMS, TOPICS

SPECIAL = ["<unk>", "<end>", "<start>", "<sep>", "<mask>"]
PROMPT_WORDS = (
    "put the shuffled descriptions back into order of items choose that belong to this "
    "user tags interests answer : ; , ."
)
WORDS = [
    *dict.fromkeys(
        [
            *SPECIAL,
            *PROMPT_WORDS.split(),
            *" ".join(TOPICS).split(),
            "outdoors",
            "science",
            "fiction",
            "gadgets",
        ]
    ),
    *(f"number{i}" for i in range(NUM_ITEMS)),
]
WIDTH, LONGEST = 32, 128


def write_tokenizer(folder: Path, framed: bool) -> None:
    """Write a tokenizer of WORDS; framed: with a start and a closing token, and a mask, as an
    encoder has them.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "<unk>", "eos_token": "<end>"}
    if framed:
        frame = [("<start>", WORDS.index("<start>")), ("<sep>", WORDS.index("<sep>"))]
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<start> $A <sep>", special_tokens=frame
        )
        special = {"unk_token": "<unk>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": LONGEST,
    "initializer_range": 0.2,
}


def write_encoder(folder: Path) -> Path:
    """Write a model that looks both ways."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES), add_pooling_layer=False).save_pretrained(folder)
    write_tokenizer(folder, framed=True)
    return folder


def write_masked(folder: Path) -> Path:
    """Write a model that looks both ways, with the head that fills in masked words."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**SIZES)).save_pretrained(folder)
    write_tokenizer(folder, framed=False)
    return folder


def without(folder: Path, part: str) -> Path:
    """Take the weights whose names have a part out of a model's file."""
    return rewrite(folder, lambda found: {n: t for n, t in found.items() if part not in n})


def rewrite(folder: Path, change: Callable[[dict], dict]) -> Path:
    """Write a model's weights again. change: gets and returns {name: tensor}."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})
    return folder


def write_narrow(folder: Path) -> Path:
    """Write a model whose tokens are narrower than its states."""
    import torch
    from transformers import ElectraConfig, ElectraModel

    torch.manual_seed(0)
    ElectraModel(ElectraConfig(**SIZES, embedding_size=WIDTH // 2)).save_pretrained(folder)
    write_tokenizer(folder, framed=True)
    return folder


def write_causal(folder: Path) -> Path:
    """Write a model in which a word sees only those before it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, bos_token_id=None, eos_token_id=WORDS.index("<end>"))
    LlamaForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder, framed=False)
    return folder


def write_scaled(folder: Path) -> Path:
    """Write a causal model that reads multiples of the rows of its table."""
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM

    torch.manual_seed(0)
    config = GemmaConfig(**SIZES, num_key_value_heads=1, head_dim=16)
    GemmaForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder, framed=False)
    return folder


def write_byte_level(folder: Path) -> Path:
    """Write a causal model whose tokenizer is of bytes, and keeps spaces, as that of GPT-2."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    every = [*PROMPT_WORDS.split(), *TOPICS, "red robot laser", "items in order: a a a"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(every, trainer)
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": tokenizer.get_vocab_size()}
    LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=0)).save_pretrained(
        folder
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.save_pretrained(folder)
    return folder


WRITERS = {"encoder": write_encoder, "causal": write_causal}


def mark_project(folder: Path) -> None:
    """Let `glta` and the scripts of stages take a folder for a project."""
    (folder / ".dvc").mkdir()
    (folder / "Snakefile").touch()
