"""The log-probabilities of a prompt's tokens in what an endpoint with the interface of OpenAI answers.

Servers tell them in two ways. With ``echo`` a completion has the prompt in it, and in ``logprobs`` the texts of all
tokens, their log-probabilities, and the likeliest few in their place (OpenAI's own first models, vLLM, llama-cpp-python
and others). vLLM has ``prompt_logprobs`` besides, of chats too: for each place the ids of the prompt's token and of the
likeliest ones, with ranks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.targets.responses import Show
from tmi.targets.texts import Texts, checked

NONE_OF_THE_PROMPT = (
    "the answer has no log-probabilities of the prompt's tokens, which target.meaning 'tokens' needs: ask for them "
    'with "echo": true and "logprobs", or with "prompt_logprobs"; not every server has either'
)


def log_probabilities_of(
    document: Any, config: TargetConfig, asked: list[str], texts: Texts, show: Show
) -> NDArray[np.float64]:
    """What an answer says about the tokens of the prompts that were sent.

    Args:
        document: the JSON of the answer.
        config: of kind ``http``, with the meaning ``tokens``.
        asked: the prompts.
        texts: has their tokens.
        show: a value as an error message may show it.

    Returns:
        ``[prompts, Texts.width]``.

    Raises:
        TmiError: it is no answer of this interface, has none of the prompts' log-probabilities, or those of other
            tokens.
    """
    choices = document.get("choices") if isinstance(document, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise TmiError(f"the answer has no list 'choices', as the interface of OpenAI has, but is {show(document)}")
    if len(choices) != len(asked):
        raise TmiError(f"the answer has {len(choices)} choices, expected {len(asked)}, one per text sent")
    if all(isinstance(choice.get("index"), int) for choice in choices):
        choices = sorted(choices, key=lambda choice: int(choice["index"]))
    rows = []
    for choice, text in zip(choices, asked, strict=True):
        ids, echoed = texts.ids[text], choice.get("logprobs")
        listed = choice.get("prompt_logprobs", document.get("prompt_logprobs"))
        if isinstance(listed, list):
            rows.append(texts.answer(*_by_ids(listed, ids, config.asked_prompt_tokens, show)))
        elif isinstance(echoed, dict) and isinstance(echoed.get("tokens"), list):
            rows.append(texts.answer(*_by_texts(echoed, ids, config, texts, show)))
        else:
            raise TmiError(NONE_OF_THE_PROMPT)
    return np.array(rows)


def _by_texts(
    echoed: dict[str, Any], ids: tuple[int, ...], config: TargetConfig, texts: Texts, show: Show
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities and ranks of all tokens but the first, which are told by their texts."""
    tokens, values, likeliest = (echoed.get(key) for key in ("tokens", "token_logprobs", "top_logprobs"))
    assert isinstance(tokens, list)
    if not isinstance(values, list) or len(values) != len(tokens):
        raise TmiError(f"the answer has {len(tokens)} tokens, expected as many token_logprobs")

    def differs(place: int) -> bool:
        if place >= len(tokens) or not isinstance(tokens[place], str):
            return True
        spellings = texts.spellings(ids[place])
        return spellings is not None and tokens[place] not in spellings

    other = next((place for place in range(len(ids)) if differs(place)), None)
    if other is not None and len(tokens) <= config.most_written:
        raise TmiError(NONE_OF_THE_PROMPT)
    if other is not None:
        found = show(tokens[other]) if other < len(tokens) else "missing"
        expected = min(texts.spellings(ids[other]) or {"?"}, key=len)
        raise _other_tokens(other, found, repr(expected))
    chosen = _numbers(values[1 : len(ids)])
    ranks = np.full(len(chosen), -1.0)
    if isinstance(likeliest, list) and (number := config.shown_tokens):
        for place, (shown, own) in enumerate(zip(likeliest[1 : len(ids)], chosen, strict=False)):
            if isinstance(shown, dict) and shown:
                others = _numbers(list(shown.values()))
                above = int((others > own).sum())
                # The text's own token is among them, the last where it is none of the likeliest; where there are fewer
                # because two tokens have one text, it may be either.
                if above < number and (others.min() < own or len(others) == number):
                    ranks[place] = above
    return chosen, ranks


def _by_ids(
    listed: list[Any], ids: tuple[int, ...], number: int, show: Show
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same of tokens that are told by their ids, that of the prompt among the ``number`` likeliest or besides.

    A prompt of a chat has what the server's template puts around the text. What the template ends with may stand before
    the text in the place of its first token, which nothing is said about.
    """
    found = [_possible(place, number) for place in listed]
    wanted = [str(index) for index in ids[1:]]

    def right(start: int) -> list[bool]:
        return [own in there for own, there in zip(wanted, found[start:], strict=False)]

    # Where most of them are; of several places the last, the text being behind whatever the template says.
    begin = max(range(1, max(2, len(found) - len(wanted) + 1)), key=lambda start: (sum(right(start)), start))
    if sum(right(begin)) < len(wanted):
        other = [*right(begin), False].index(False)
        there = show(found[begin + other]) if begin + other < len(found) else "missing"
        raise _other_tokens(other + 1, there, wanted[other])
    entries = [listed[begin + place][own] for place, own in enumerate(wanted)]
    chosen = _numbers([entry.get("logprob") for entry in entries])
    ranks = [entry.get("rank") for entry in entries]
    return chosen, np.array([rank - 1 if isinstance(rank, int) and rank > 0 else -1 for rank in ranks], np.float64)


def _possible(place: Any, number: int) -> list[str]:
    """Which tokens may be the prompt's in a place: one that is behind the likeliest is there for no other reason."""
    if not isinstance(place, dict):
        return []
    ranks = {own: entry.get("rank") for own, entry in place.items() if isinstance(entry, dict)}
    return [own for own, rank in ranks.items() if isinstance(rank, int) and rank > number] or list(ranks)


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise TmiError(f"{NONE_OF_THE_PROMPT}: some are no numbers")
    return checked(values, len(values), "the answer has")


def _other_tokens(place: int, found: str, expected: str) -> TmiError:
    return TmiError(
        f"the answer has log-probabilities of other tokens than ours, token {place} being {found}, expected "
        f"{expected}: encoder.tokenizer has to be the tokenizer of the target"
    )
