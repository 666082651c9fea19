"""A small language model behind the interface of OpenAI, and as it is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray

from tmi.data.tokens import PADDING, Tokenizer, train_tokenizer
from tmi.targets import Texts

LENGTH = 64


class Writer:
    """A GPT-2 with random weights and a tokenizer, saved in a folder and asked text by text."""

    def __init__(self, folder: Path, corpus: list[str]) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        self.by_rank = False
        self.folder, self.tokenizer = folder, train_tokenizer(corpus, 300)
        torch.manual_seed(0)
        settings = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": LENGTH, "initializer_range": 0.5}
        self.model = GPT2LMHeadModel(GPT2Config(vocab_size=self.tokenizer.vocabulary, **settings)).eval()
        self.model.save_pretrained(folder)
        self.tokenizer.save(folder / "tokenizer.json")
        self.backend = tokenizers.Tokenizer.from_str(self.tokenizer.content)

    @torch.no_grad()
    def log_p(self, text: str) -> tuple[list[int], NDArray[np.float64]]:
        """The tokens of a text, and what the model expects in the place of each but the first ``[tokens - 1, all]``."""
        ids = self.backend.encode(text).ids
        logits = self.model(torch.tensor([ids])).logits[0, :-1]
        return ids, logits.double().log_softmax(dim=-1).numpy()

    @torch.no_grad()
    def expected(self, ids: list[int]) -> NDArray[np.float64]:
        """What the model expects behind some tokens ``[all]``."""
        expected: NDArray[np.float64] = (
            self.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(dim=-1).numpy()
        )
        return expected

    def texts(self, asked: list[str], room: int = LENGTH - 1) -> Texts:
        return texts_of(self.tokenizer, asked, room)

    def spelled(self, index: int) -> str:
        """As OpenAI spells tokens, parts of characters by their bytes, so that each has a text of its own."""
        text = str(self.backend.decode([index], skip_special_tokens=False))
        return text if "\ufffd" not in text else f"bytes:{self.backend.id_to_token(index)}"

    def complete(self, number: int, body: Any) -> tuple[int, dict[str, str], str]:
        """An answer to ``/v1/completions`` with ``echo`` and ``logprobs``, the choices in no order."""
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        assert body["echo"] is True
        choices = []
        for index, prompt in enumerate(prompts):
            ids, log_p = self.log_p(prompt)
            own = [float(row[token]) for row, token in zip(log_p, ids[1:], strict=True)]
            top = [
                {self.spelled(int(token)): float(row[token]) for token in np.argsort(-row)[: body["logprobs"]]}
                | {self.spelled(chosen): float(row[chosen])}
                for row, chosen in zip(log_p, ids[1:], strict=True)
            ]
            tokens = [*map(self.spelled, ids), *["!"] * body["max_tokens"]]
            said = {
                "tokens": tokens,
                "token_logprobs": [None, *own, *[-1.0] * body["max_tokens"]],
                "top_logprobs": [None, *top, *[{"!": -1.0}] * body["max_tokens"]],
                "text_offset": [0] * len(tokens),
            }
            choices.append({"index": index, "text": prompt, "logprobs": said, "finish_reason": "length"})
        return 200, {}, json.dumps({"object": "text_completion", "choices": choices[::-1]})

    def chat(self, number: int, body: Any) -> tuple[int, dict[str, str], str]:
        """An answer to ``/v1/chat/completions`` with ``prompt_logprobs``: the text stands in a template."""
        content = body["messages"][0]["content"]
        before, after = [7, 8], [9, 7]
        ids, log_p = self.log_p(content)
        places: list[Any] = [None, {"8": {"logprob": -3.0, "rank": 2, "decoded_token": "x"}}]
        places += [{str(ids[0]): {"logprob": -2.0, "rank": 5, "decoded_token": "x"}}] * (len(before) - 1)
        for row, chosen in zip(log_p, ids[1:], strict=True):
            entries = [chosen, *np.argsort(-row)[: body["prompt_logprobs"]].tolist()]
            # Earlier versions of vLLM had them in the order of their ranks.
            entries = sorted(entries, key=lambda token: -row[token]) if self.by_rank else entries
            places.append(
                {
                    str(token): {"logprob": float(row[token]), "rank": int((row > row[token]).sum()) + 1}
                    for token in entries
                }
            )
        places += [{str(token): {"logprob": -1.0, "rank": 3}} for token in after]
        message = {"role": "assistant", "content": "!"}
        return 200, {}, json.dumps({"choices": [{"index": 0, "message": message}], "prompt_logprobs": places})


def texts_of(tokenizer: Tokenizer, asked: list[str], room: int = LENGTH - 1) -> Texts:
    ids = {
        text: tuple(row[row != PADDING].tolist())
        for text, row in zip(asked, tokenizer.encode(asked, room + 1), strict=True)
    }
    longest = max(map(len, ids.values()))
    return Texts(ids, longest - 1, room, tokenizer.spellings, tokenizer.fingerprint)
