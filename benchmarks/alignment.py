"""Compare user alignment, training and reading, with a simple padded loop, in prompts a second.

The rival puts prompts in random order into padded batches with an attention mask. It computes
gradients for everything but the frozen model, and reads states batch by batch in the same way. Both
must give the same states.
"""

# B prompts, T tokens, K read-outs, U users, I items, D graph width, H language width
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.timing import Row, in_turns
from glta.methods.glta.aligner import Aligner, new_aligner
from glta.methods.glta.prompts import Templates
from glta.methods.glta.settings import AlignSettings, AlignUsersSettings
from glta.methods.glta.user_alignment import add_user_projector
from glta.methods.shared.graph_nodes import Nodes
from glta.nn.language.frozen import Language as Frozen
from glta.nn.language.frozen import load_language
from glta.nn.language.node_prompts import ITEM, READ_OUT, USER, Prompt, equal_length_batches
from glta.nn.language.settings import LanguageSettings

WORDS = [
    "quiet",
    "river",
    "stone",
    "garden",
    "winter",
    "music",
    "story",
    "island",
    "night",
    "distant",
    "paper",
    "secret",
]

# tokens of one forward pass
BATCH_TOKENS = 8192


def made_up(
    num_users: int,
    num_items: int,
    params: AlignUsersSettings,
    shared: AlignSettings | None = None,
    reader: Frozen | None = None,
) -> tuple[list[Prompt], torch.Tensor, Nodes, Aligner]:
    """Make random prompts of user alignment, of varying length, with targets, nodes and an aligner.

    The prompts are in the tokens of the packaged language model. targets: (U, K). reader: the
    language model of the aligner; the packaged one by default.
    """
    rng = np.random.default_rng(0)
    language = load_language(LanguageSettings(batch_tokens=BATCH_TOKENS), "cpu")
    reader = reader or language
    generator = torch.Generator().manual_seed(0)
    nodes = Nodes(
        torch.randn(num_users, 64, generator=generator),
        torch.randn(num_items, 64, generator=generator),
    )
    nodes = nodes.to(reader.device)
    aligner = new_aligner(
        reader, nodes, shared or AlignSettings(), seed=0, known_I=np.ones(num_items, bool)
    )
    add_user_projector(aligner, nodes, 0)
    aligner.item_projector.requires_grad_(False)
    templates = Templates(language)
    prompts = []
    for user in range(num_users):
        context = rng.integers(0, num_items, min(int(rng.geometric(0.1)) + 1, params.context_items))
        tags, interests = (
            language.tokens([", ".join(rng.choice(WORDS, int(rng.integers(1, limit))))], limit)[0]
            for limit in (params.tag_tokens, params.interest_tokens)
        )
        prompts.append(templates.choose(user, context, tags, interests, params.read_outs))
    target = torch.from_numpy(rng.integers(0, num_items, (num_users, params.read_outs)))
    return prompts, target, nodes, aligner


def padded_states(aligner, prompts: list[Prompt], nodes: Nodes) -> torch.Tensor:
    """Compute read-out states (B, K, H) of prompts of any length under an attention mask."""
    width = max(len(p) for p in prompts)
    kind, value, mask = (torch.zeros(len(prompts), width, dtype=torch.long) for _ in range(3))
    for row, prompt in enumerate(prompts):
        kind[row, : len(prompt)] = torch.from_numpy(prompt.kind).long()
        value[row, : len(prompt)] = torch.from_numpy(prompt.value)
        mask[row, : len(prompt)] = 1
    embeds = aligner.language.embed(value.masked_fill((kind == ITEM) | (kind == USER), 0))
    embeds = embeds.clone()
    for which, project, table in (
        (ITEM, aligner.item_projector, nodes.item),
        (USER, aligner.user_projector, nodes.user),
    ):
        embeds[kind == which] = project(table[value[kind == which]])
    hidden = aligner.language.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    return hidden[kind == READ_OUT].view(len(prompts), -1, aligner.language.width)


def run(quick: bool) -> list[Row]:
    """Time one training pass and one reading pass over the same prompts; packaged model, CPU."""
    params = (
        AlignUsersSettings(
            read_outs=2, context_items=4, tag_tokens=4, interest_tokens=3, batch_size=4
        )
        if quick
        else AlignUsersSettings()
    )
    prompts, target, nodes, aligner = made_up(*((12, 50) if quick else (256, 10_000)), params)
    lengths = np.array([len(p) for p in prompts])
    random = np.random.default_rng(1).permutation(len(prompts))
    random_batches = np.array_split(random, -(-random.size // params.batch_size))
    trained = list(aligner.trained().values())

    def train(batches, states_of) -> None:
        for batch in batches:
            logits = aligner.logits(states_of([prompts[i] for i in batch]), nodes)
            loss = F.cross_entropy(logits.flatten(0, 1), target[torch.from_numpy(batch)].flatten())
            for parameter in trained:
                parameter.grad = None
            loss.backward()

    def our_train() -> None:
        train(
            equal_length_batches(lengths, params.batch_size, rng),
            lambda p: aligner.states(p, nodes),
        )

    def plain_read() -> torch.Tensor:
        with torch.no_grad():
            parts = [
                padded_states(aligner, [prompts[i] for i in batch], nodes)
                for batch in random_batches
            ]
        return torch.cat(parts)[torch.from_numpy(np.argsort(random))]

    def our_read() -> torch.Tensor:
        return aligner.read(prompts, nodes, "prompts read")

    torch.testing.assert_close(our_read(), plain_read(), atol=1e-4, rtol=1e-4)
    rng = np.random.default_rng(0)
    seconds = in_turns(
        {
            "train": our_train,
            "padded train": lambda: train(
                random_batches, lambda p: padded_states(aligner, p, nodes)
            ),
            "read": our_read,
            "padded read": plain_read,
        },
        rounds=1,
    )
    # the setting align.precision: bfloat16 does the same
    aligner.language.precision = torch.bfloat16
    seconds |= in_turns({"train in bfloat16": our_train, "read in bfloat16": our_read}, rounds=1)
    per = 1e3 / len(prompts)
    tokens = f"lengths {lengths.min()} to {lengths.max()}"
    rows = []
    against = {
        "train": ("padded train", 2),
        "read": ("padded read", 2),
        "train in bfloat16": ("padded train", None),
        "read in bfloat16": ("padded read", None),
    }
    for what, (rival, target) in against.items():
        own = seconds[what]
        note = f"{len(prompts) / own:.0f} prompts/s, {lengths.sum() / own:.0f} tokens/s, {tokens}"
        goal = None if quick else target
        rows.append(
            Row(
                f"alignment, {what}",
                own * per,
                "padded loop",
                seconds[rival] * per,
                target=goal,
                unit="ms/prompt",
                note=note,
            )
        )
    return rows
