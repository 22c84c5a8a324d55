"""Fill in the chat template of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.nn.language.model_files import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = "[[slots]]"
"""Stands for the words of the user while a template is filled in. A model sees none of it."""


def chat_text(tokenizer: PreTrainedTokenizerBase, prompt: str, model: str) -> str:
    """Return a prompt in the chat template, up to where the answer begins.

    Without a template, it is the prompt itself. model: parameter and name, for messages.
    Raises ValueError for a template that cannot be filled in, or that leaves the prompt out, as one
    for pictures and text may do.
    """
    if not tokenizer.chat_template:
        return prompt
    return _filled(tokenizer, [{"role": "user", "content": prompt}], prompt, model)


def chat_frame(
    tokenizer: PreTrainedTokenizerBase, system: str, model: str
) -> tuple[str, str] | None:
    """Return what a chat template has before and after the words of the user.

    The part after them ends where the answer begins. None: the tokenizer has no template.
    system: the task, as the system line; before the user's words where a template knows no such
    line. model: parameter and name, for messages. Raises ValueError as `chat_text`.
    """
    if not tokenizer.chat_template:
        return None
    user = {"role": "user", "content": MARK}
    try:
        text = _filled(tokenizer, [{"role": "system", "content": system}, user], MARK, model)
    except ValueError:
        text = ""
    if system not in text:
        user = {"role": "user", "content": f"{system}\n\n{MARK}"}
        text = _filled(tokenizer, [user], MARK, model)
    before, _, after = text.partition(MARK)
    return before, after


def _filled(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], needed: str, model: str
) -> str:
    """Fill in a template. needed: what must be in the text."""
    problem = "leaves the prompt out"
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program, and raises what it likes
        text = ""
        problem = f"cannot be filled in ({first_line(error)})"
    if needed.strip() not in str(text):
        raise ValueError(
            f"{model}: its chat template {problem}; correct it in the folder, delete it to have "
            "prompts without a template, or name another model"
        )
    return str(text)
