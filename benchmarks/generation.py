"""Generate items by their codes: beam search in the tree against that of transformers.

Both ask the same network with random weights, and must give the same lists. transformers asks a
function of Python for the codes that continue each prefix. One network is T5, with a vocabulary of
codes alone. The other is the small causal model of Semantic Convergence, once with its words and
once with codes alone. With words, transformers computes the logits of all of them for every beam;
ours are those of the codes of a level. Ours reads all beams of a user as one row.
"""

# U users, I items, M codes of an item, K codes of a level, N prefixes
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.timing import Row, clock, in_turns
from glta.nn.generation.beam_search import beam_search
from glta.nn.generation.prefix_tree import PrefixTree

LEVELS = 4
CODES = 256
BEAMS = 20
FIRST = 2  # the first tokens are the padding and the end


def uneven_codes(num_items: int) -> np.ndarray:
    """Draw different sequences (I, M); low codes are frequent, so that prefixes are shared."""
    rng = np.random.default_rng(0)
    drawn = np.unique(rng.zipf(1.3, (5 * num_items, LEVELS)) % CODES, axis=0)
    return rng.permutation(drawn)[:num_items]


def next_tokens(token_IM: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    """Return the tokens that continue each prefix to an item."""
    found: dict[tuple[int, ...], set[int]] = {}
    for row in token_IM.tolist():
        for length, token in enumerate(row):
            found.setdefault(tuple(row[:length]), set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in found.items()}


class LanguageRivals:
    """Hold the small causal model with code tokens, and the same as one model of transformers.

    words: whether that of transformers has the words too, and prompts begin with some.
    """

    def __init__(self, codes_IM: np.ndarray, num_users: int, *, words: bool):
        from transformers import LlamaForCausalLM

        from glta.nn.language.causal_language import load_causal
        from glta.nn.language.code_language import CodeLanguage
        from glta.nn.language.settings import CausalSettings

        self.network = CodeLanguage(load_causal(CausalSettings(), 0), [CODES] * LEVELS, 0)
        own = self.network.language.model
        table = self.network.code.detach()
        if words:
            table = torch.cat([own.get_input_embeddings().weight, table])
        self.first = 0 if words else self.network.num_words
        config = own.config.__class__.from_dict(own.config.to_dict() | {"vocab_size": len(table)})
        self.model = LlamaForCausalLM(config).eval()
        self.model.model.load_state_dict(own.state_dict() | {"embed_tokens.weight": table})
        self.tree = PrefixTree.of(codes_IM)
        self.codes = self.network.code_tokens(codes_IM)
        self.next_tokens = next_tokens(self.codes - self.first)
        items = np.random.default_rng(0).integers(len(codes_IM), size=(num_users, 10))
        before = np.tile(np.arange(2000, 2005 if words else 2000), (num_users, 1))
        self.prompt = np.concatenate([before, self.codes[items].reshape(num_users, -1)], 1)

    def ours(self) -> np.ndarray:
        """Return the tokens of the best items, (U * BEAMS, M)."""
        read = self.network.read(list(self.prompt))
        items, _ = beam_search(self.tree, read, len(self.prompt), k=BEAMS, width=BEAMS)
        return self.codes[items.flatten()]

    @torch.no_grad()
    def theirs(self) -> np.ndarray:
        """Return the same from transformers."""
        begin = self.prompt.shape[1]
        found = self.model.generate(
            input_ids=torch.from_numpy(self.prompt - self.first),
            attention_mask=torch.ones(self.prompt.shape, dtype=torch.long),
            pad_token_id=0,
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            max_new_tokens=LEVELS,
            min_new_tokens=LEVELS,
            do_sample=False,
            use_cache=True,
            length_penalty=0.0,
            renormalize_logits=True,
            prefix_allowed_tokens_fn=lambda _, ids: self.next_tokens.get(
                tuple(ids.tolist()[begin:])
            ),
        )
        return found[:, begin:].numpy() + self.first


class Rivals:
    """Hold T5, the users' histories, and both searches.

    network: seconds that the network has taken.
    """

    def __init__(self, codes_IM: np.ndarray, num_users: int):
        from transformers import T5Config, T5ForConditionalGeneration

        torch.manual_seed(0)
        size = FIRST + LEVELS * CODES
        config = T5Config(
            vocab_size=size,
            d_model=64,
            d_kv=32,
            num_heads=2,
            d_ff=128,
            num_layers=1,
            num_decoder_layers=1,
            pad_token_id=0,
            eos_token_id=1,
            dropout_rate=0.0,
        )
        config.decoder_start_token_id = 0
        self.model = T5ForConditionalGeneration(config).eval()
        self.history = torch.randint(FIRST, size, (num_users, 40))
        self.tree = PrefixTree.of(codes_IM)
        self.offset = FIRST + CODES * torch.arange(LEVELS)
        self.next_tokens = next_tokens(codes_IM + self.offset.numpy())
        self.network = 0.0
        self.model.forward = self._timed(self.model.forward)

    def _timed(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            begin = clock()
            result = forward(*args, **kwargs)
            self.network += clock() - begin
            return result

        return run

    @torch.no_grad()
    def ours(self) -> np.ndarray:
        """Return the tokens of the best items, (U * BEAMS, M)."""
        memory = self.model.encoder(input_ids=self.history).last_hidden_state

        def next_logits(
            prefix: torch.Tensor, owner: torch.Tensor, state: Any, parent: torch.Tensor | None
        ) -> tuple[torch.Tensor, Any]:
            level = prefix.shape[1]
            begin = torch.zeros(len(prefix), 1, dtype=torch.long)
            tokens = torch.cat([begin, prefix + self.offset[:level]], 1)
            outputs = self.model(encoder_outputs=(memory[owner],), decoder_input_ids=tokens)
            first = FIRST + level * CODES
            return outputs.logits[:, -1, first : first + CODES], None

        items, _ = beam_search(self.tree, next_logits, len(memory), k=BEAMS, width=BEAMS)
        leaf = self.tree.leaf_of[items.flatten()]
        return (self.tree.levels[-1].prefix[leaf] + self.offset).numpy()

    @torch.no_grad()
    def theirs(self) -> np.ndarray:
        """Return the same from transformers."""
        found = self.model.generate(
            input_ids=self.history,
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            max_new_tokens=LEVELS,
            min_new_tokens=LEVELS,
            do_sample=False,
            length_penalty=0.0,
            renormalize_logits=True,
            prefix_allowed_tokens_fn=lambda _, ids: self.next_tokens.get(tuple(ids.tolist()[1:])),
        )
        return found[:, 1:].numpy()


def run(quick: bool) -> list[Row]:
    """Compare on 12,000 items and 20 beams (quick: 500 items)."""
    num_items = 500 if quick else 12_000
    rows = []
    for num_users in (2,) if quick else (16, 256):
        rivals = Rivals(uneven_codes(num_items), num_users)
        apart = (rivals.ours() != rivals.theirs()).any(1).mean()
        # items of nearly equal scores may be exchanged, as sums differ in the last bits
        assert apart <= 0.01, f"{apart:.1%} of the places in the lists have other items"
        contestants: dict[str, Callable[[], object]] = {
            "ours": rivals.ours,
            "theirs": rivals.theirs,
        }
        rounds = 1 if quick else 5
        case = f"beam search, {num_users} users, {num_items:,} items, {BEAMS} beams"
        whole = in_turns(contestants, rounds)
        alone = {name: without_network(rivals, search) for name, search in contestants.items()}
        against = "transformers, prefix_allowed_tokens_fn"
        rows.append(Row(case, whole["ours"], against, whole["theirs"], note="with the network"))
        note = "without the network's time"
        rows.append(Row(case, alone["ours"], against, alone["theirs"], note=note))
    return [*rows, *(of_language(num_items, quick, words=words) for words in (True, False))]


def of_language(num_items: int, quick: bool, *, words: bool) -> Row:
    """Compare with the small causal model. words: see `LanguageRivals`."""
    num_users = 2 if quick else 16
    rivals = LanguageRivals(uneven_codes(num_items), num_users, words=words)
    apart = (rivals.ours() != rivals.theirs()).any(1).mean()
    assert apart <= 0.01, f"{apart:.1%} of the places in the lists have other items"
    whole = in_turns({"ours": rivals.ours, "theirs": rivals.theirs}, 1 if quick else 5)
    tokens = "words and codes" if words else "codes alone"
    return Row(
        f"causal model with {tokens}, {num_users} users, {num_items:,} items, {BEAMS} beams",
        whole["ours"],
        "transformers, prefix_allowed_tokens_fn",
        whole["theirs"],
        target=None if quick else 10,
        note="with the network",
    )


def without_network(rivals: Rivals, search: Callable[[], object], rounds: int = 3) -> float:
    """Return the seconds of a search without those of the network, the least of some rounds."""
    times = []
    for _ in range(rounds):
        rivals.network = 0.0
        begin = clock()
        search()
        times.append(clock() - begin - rivals.network)
    return min(times)
