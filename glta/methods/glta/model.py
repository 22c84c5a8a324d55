"""GLTA as a served method: read-out states of all users and the matching head; the language model
only for one mode.
"""

# U users, I items, B users of a block, K read-outs, H language width
from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, fold_in, known_users
from glta.data.interactions import Interactions
from glta.methods.base import Inputs, Method
from glta.methods.glta.head_rows import TextRows, distilled
from glta.params.model import Params
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.methods.glta.aligner import Aligner, Nodes
    from glta.methods.glta.prompts import Prompt


class GLTA(Method):
    """Score items by the logits of the first read-out: states (U, K, H) @ weight (I, H).T + bias
    (I,).

    Made by the stages align_items and align_users, not by `fit`. The folder also keeps the
    projectors and every user's prompt, so that autoregressive lists (and later reading) can be made
    with the language model named in model.json.
    """

    def __init__(
        self,
        states_UKH: np.ndarray,
        weight_IH: np.ndarray,
        bias_I: np.ndarray,
        text: TextRows,
        folder: Path | None = None,
        mode: str | None = None,
    ):
        """folder: where `load` found it.

        mode: how its lists are made, whatever `recommend` is asked for; None: as asked.
        """
        self.states, self.weight, self.bias, self.text = states_UKH, weight_IH, bias_I, text
        self.folder, self.mode = folder, mode

    @classmethod
    def of(
        cls,
        states_UKH: np.ndarray,
        weight_IH: np.ndarray,
        bias_I: np.ndarray,
        text_IW: np.ndarray,
        known_I: np.ndarray,
    ) -> Self:
        """Make the method from a trained head; rows of items without training users (not known_I)
        come from their text.
        """
        shown = states_UKH[:: -(-len(states_UKH) // 1000), 0]
        text = distilled(text_IW[known_I], weight_IH[known_I], bias_I[known_I], shown)
        weight_IH, bias_I = weight_IH.copy(), bias_I.copy()
        weight_IH[~known_I], bias_I[~known_I] = text.rows(text_IW[~known_I])
        return cls(states_UKH, weight_IH, bias_I, text)

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        """Raise ValueError: GLTA is trained by its own stages."""
        raise ValueError("glta is trained by the stages align_items and align_users, not by fit")

    def score(self, users: np.ndarray) -> np.ndarray:
        """Score by the first read-out."""
        from glta.evaluation.ranking import dot_products

        return (
            dot_products(self.states[known_users(users, len(self.states)), 0], self.weight)
            + self.bias
        )

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        """Score by reading a prompt for each person with the language model; raise ValueError when
        users have no token.

        Of the history, items that came after training (`extended`) are left out: they have no
        token.
        """
        import torch

        from glta.methods.glta.aligner import Nodes
        from glta.methods.glta.loop import read_states
        from glta.methods.glta.newcomers import Newcomers
        from glta.methods.glta.settings import AlignUsersSettings

        params = AlignUsersSettings.model_validate(
            read_json(self.folder / "model.json")["align_users"]
        )
        if not params.user_token:
            raise ValueError(
                "align_users.user_token = false: this glta knows users by their ids alone, not by "
                "their items"
            )
        aligner, _, nodes = load_aligner(self.folder)
        newcomers = Newcomers.load(self.folder)
        history_BI = checked(history_BI, len(self.weight))[:, : len(newcomers.message)]
        users = torch.from_numpy(fold_in(history_BI, newcomers.message)).to(nodes.item)
        prompts = newcomers.prompts(aligner.language, history_BI, params)
        states = read_states(aligner, prompts, Nodes(users, nodes.item), 8192, "people read")[
            :, 0
        ].numpy()
        return states @ self.weight.T + self.bias

    def extended(self, text_JW: np.ndarray) -> Self:
        weight, bias = self.text.rows(text_JW)
        both = np.concatenate([self.weight, weight]), np.concatenate([self.bias, bias])
        return type(self)(self.states, *both, self.text, self.folder)

    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions, mode: str = "first_logit"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make lists (len(users), k) of items and scores; see params `recommend.mode` (GLTA,
        prediction modes).

        one_per_position: read-out t gives item t, greedily without repeats; after the last read-out
        the first one's order goes on. autoregressive: each item is fed back as an item token and
        the prompt is read again, k times.
        """
        mode = self.mode or mode
        if mode == "first_logit":
            return super().recommend(users, k, exclude, mode)
        users = known_users(users, len(self.states))
        step = (
            self._positions
            if mode == "one_per_position"
            else self._autoregressive(min(k, len(self.weight)))
        )
        items, scores = (
            np.full((len(users), k), -1, np.int64),
            np.full((len(users), k), -np.inf, np.float32),
        )
        for start in range(0, len(users), 256):
            part = users[start : start + 256]
            rows = np.arange(part.size)
            blocked = np.zeros((part.size, self.weight.shape[0]), bool)
            blocked[exclude.rows(part)] = True
            for t in range(min(k, self.weight.shape[0])):
                score = np.where(
                    blocked, -np.inf, step(part, items[start : start + part.size, :t], t)
                )
                best = score.argmax(1)
                left = ~blocked[rows, best]
                items[start + rows[left], t] = best[left]
                scores[start + rows[left], t] = score[rows, best][left]
                blocked[rows, best] = True
        return items, scores

    def _positions(self, users: np.ndarray, chosen: np.ndarray, t: int) -> np.ndarray:
        state = self.states[users, t if t < self.states.shape[1] else 0]
        return state @ self.weight.T + self.bias

    def _autoregressive(self, k: int):
        """Return a step that reads prompts with the chosen items before the first read-out; raise
        ValueError without room.
        """
        import torch

        from glta.methods.glta.loop import read_states
        from glta.methods.glta.prompts import ITEM, READ_OUT, Prompt

        aligner, prompts, nodes = load_aligner(self.folder)
        if len(nodes.item) < len(self.weight):
            raise ValueError(
                "recommend.mode = autoregressive: new items have no token to be fed back; choose "
                "another mode"
            )
        tokens, most = (
            max(len(p) - int((p.kind == READ_OUT).sum()) for p in prompts) + k,
            aligner.language.max_tokens,
        )
        if tokens > most:
            raise ValueError(
                f"recommend.mode = autoregressive: lists of {k} items need prompts of {tokens} "
                "tokens, the language model "
                f"takes {most}: lower recommend.k or align_users.context_items"
            )

        def step(users: np.ndarray, chosen: np.ndarray, t: int) -> np.ndarray:
            grown = []
            for user, items in zip(users, chosen, strict=True):
                prompt, items = prompts[user], items[items >= 0]
                at = int(np.flatnonzero(prompt.kind == READ_OUT)[0])
                after = at + int((prompt.kind == READ_OUT).sum())
                kind = [
                    prompt.kind[:at],
                    np.full(items.size, ITEM, np.int8),
                    prompt.kind[at : at + 1],
                    prompt.kind[after:],
                ]
                value = [prompt.value[:at], items, prompt.value[at : at + 1], prompt.value[after:]]
                grown.append(Prompt(np.concatenate(kind), np.concatenate(value)))
            with torch.inference_mode():
                states = read_states(aligner, grown, nodes, 8192, f"item {t + 1} read")[
                    :, 0
                ].numpy()
            return states @ self.weight.T + self.bias

        return step

    def save(self, folder: Path) -> None:
        """Write states and head. The aligner is written beside it by `save_aligner`."""
        arrays = {"states": self.states, "weight": self.weight, "bias": self.bias} | joined(
            {"text": self.text._asdict()}
        )
        save_arrays(
            Path(folder) / "model.safetensors", arrays, {"mode": self.mode} if self.mode else None
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read states and head."""
        arrays, meta = load_arrays(Path(folder) / "model.safetensors")
        text = TextRows(**part_of(arrays, "text"))
        return cls(
            arrays["states"], arrays["weight"], arrays["bias"], text, Path(folder), meta.get("mode")
        )


def save_aligner(
    folder: Path, aligner: Aligner, prompts: list[Prompt], nodes, params: Params, extra: dict
) -> None:
    """Write aligner.safetensors (projectors, head, adapters, serving nodes, prompts) and
    model.json.
    """
    import torch

    from glta.storage.tensors import save_tensors

    ends = np.cumsum([len(p) for p in prompts])
    packed = {
        "prompts.ends": torch.from_numpy(ends),
        "prompts.kind": torch.from_numpy(np.concatenate([p.kind for p in prompts])),
        "prompts.value": torch.from_numpy(
            np.concatenate([p.value for p in prompts]).astype(np.int32)
        ),
        "nodes.user": nodes.user.cpu(),
        "nodes.item": nodes.item.cpu(),
    }
    save_tensors(Path(folder) / "aligner.safetensors", aligner.tensors() | packed)
    trained = {n: list(p.shape) for n, p in aligner.trained().items()}
    write_json(
        Path(folder) / "model.json",
        {
            "method": "glta",
            "trainable_parameters": int(sum(np.prod(shape) for shape in trained.values())),
            "trained": trained,
            "language": params.language.model_dump(),
            "align": params.align.model_dump(),
            "align_users": params.align_users.model_dump(),
            **extra,
        },
    )


def load_aligner(folder: Path) -> tuple[Aligner, list[Prompt], Nodes]:
    """Read what `save_aligner` wrote and load the language model it names: (aligner, prompts,
    serving nodes).
    """
    import torch

    from glta.methods.glta.aligner import Aligner, Nodes
    from glta.methods.glta.heads import FreeHead, TiedHead
    from glta.methods.glta.prompts import Prompt
    from glta.methods.glta.settings import AlignSettings
    from glta.nn.language.frozen import load_language
    from glta.nn.language.settings import LanguageSettings
    from glta.storage.tensors import load_tensors

    tensors, _ = load_tensors(Path(folder) / "aligner.safetensors")
    about = read_json(Path(folder) / "model.json")
    shared = AlignSettings.model_validate(about["align"])
    language = load_language(
        LanguageSettings.model_validate(about["language"]).at(shared.precision)
    )
    if shared.lora_rank:
        language.add_lora(shared)
    nodes = Nodes(tensors["nodes.user"], tensors["nodes.item"])
    generator, width, num_items = torch.Generator(), language.width, nodes.item.shape[0]
    tied = shared.head == "tied"
    head = (
        TiedHead(width, num_items, shared.head_rank, generator)
        if tied
        else FreeHead(width, num_items, generator)
    )
    linear = [torch.nn.Linear(nodes.item.shape[1], width) for _ in range(2)]
    aligner = Aligner(
        language, linear[0], linear[1] if "user_projector.weight" in tensors else None, head
    )
    aligner.load(tensors)
    starts = np.concatenate([[0], tensors["prompts.ends"].numpy()])
    kind, value = tensors["prompts.kind"].numpy(), tensors["prompts.value"].numpy().astype(np.int64)
    prompts = [Prompt(kind[a:b], value[a:b]) for a, b in itertools.pairwise(starts)]
    return aligner.to(language.device), prompts, nodes.to(language.device)
