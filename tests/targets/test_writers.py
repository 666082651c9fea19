"""Targets that write: what each kind of them says about the tokens of texts, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made.endpoint import Server
from made.prompts import Writer, texts_of
from tmi.config.target import TargetConfig
from tmi.data.tokens import train_tokenizer
from tmi.errors import TmiError
from tmi.predictions.tokens import NO_TOKEN, TOKEN, UNSEEN, tokens_there
from tmi.predictions.views import View
from tmi.system.progress import Silent
from tmi.targets import Texts, query_target

ASKED = ["the river and the stone", "a cloud", "naïve 東京 café", "the river and the stone in winter", "paper"]
QUERIES = np.array(ASKED, dtype=object)[:, None]
OTHERS = ["xylophones vex quixotic zebras"] * 3
BODY = '{"model": "ours", "prompt": ${inputs}, "echo": true, "max_tokens": 1, "logprobs": 5}'
CHAT = '{"messages": [{"role": "user", "content": ${input}}], "max_tokens": 1, "prompt_logprobs": 5}'


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    return Writer(tmp_path_factory.mktemp("writer"), ["the river and the stone in winter"] * 3)


def endpoint(server: Server, **changes: Any) -> TargetConfig:
    keys = {"kind": "http", "name": "theirs", "url": server.url, "meaning": "tokens", "per_second": 1e6, "retries": 0}
    return TargetConfig.model_validate(keys | {"body": BODY, "batch_size": 2} | changes)


def query(config: TargetConfig, texts: Texts, folder: Path, queries: NDArray[Any] = QUERIES) -> NDArray[Any]:
    return query_target(config, queries, "text", 1, folder / "answers.sqlite", Silent(), texts=texts)


def expected(writer: Writer) -> tuple[list[NDArray[np.float64]], list[NDArray[np.int64]]]:
    """Log-odds and ranks of every token of the texts but the first."""
    odds, ranks = [], []
    for text in ASKED:
        ids, log_p = writer.log_p(text)
        own = log_p[np.arange(len(log_p)), ids[1:]]
        odds.append(own - np.log(-np.expm1(own)))
        ranks.append((log_p > own[:, None]).sum(axis=1))
    return odds, ranks


def require_expected(records: NDArray[Any], writer: Writer, known: Callable[[Any], Any]) -> None:
    odds, ranks = expected(writer)
    assert records.dtype == TOKEN
    assert records.shape == (5, 1, max(map(len, odds)))
    for row, own, places in zip(records[:, 0], odds, ranks, strict=True):
        np.testing.assert_allclose(row["log_odds"][: len(own)].astype(float), own, rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(row["rank"][: len(own)], known(places))
        assert (row["rank"][len(own) :] == NO_TOKEN).all()


@pytest.mark.parametrize("most", [0, 1])
def test_an_endpoint_tells_log_probabilities_and_the_ranks_that_it_shows(
    server: Server, writer: Writer, tmp_path: Path, most: int
) -> None:
    server.answer = writer.complete
    config = endpoint(server, body=BODY.replace('"max_tokens": 1', f'"max_tokens": {most}'))
    records = query(config, writer.texts(ASKED), tmp_path)
    require_expected(records, writer, lambda ranks: np.where(ranks < 5, ranks, UNSEEN))
    assert (records["standardised"] == 0).all()
    assert [len(body["prompt"]) for body in server.asked] == [2, 2, 1]
    np.testing.assert_array_equal(query(config, writer.texts(ASKED), tmp_path), records)
    assert len(server.asked) == 3


def test_what_is_seen_of_an_endpoint_is_what_is_seen_of_the_model_itself(
    server: Server, writer: Writer, tmp_path: Path
) -> None:
    server.answer = writer.complete
    shown = query(endpoint(server), writer.texts(ASKED), tmp_path)
    saved = TargetConfig.model_validate({"kind": "checkpoint", "path": str(writer.folder), "batch_size": 3})
    whole = query(saved, writer.texts(ASKED), tmp_path)
    require_expected(whole, writer, lambda ranks: ranks)
    assert (whole["standardised"][tokens_there(whole)] != 0).all()
    for view in ("tokens", "top-5", "top-1", "loss", "text"):
        np.testing.assert_allclose(View.parse(view).apply(shown), View.parse(view).apply(whole), rtol=3e-3, atol=3e-3)


@pytest.mark.parametrize("by_rank", [False, True])
def test_a_chat_tells_of_the_tokens_of_its_prompt_within_a_template(
    server: Server, writer: Writer, tmp_path: Path, by_rank: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "by_rank", by_rank)
    server.answer = writer.chat
    records = query(endpoint(server, body=CHAT, batch_size=1), writer.texts(ASKED), tmp_path)
    require_expected(records, writer, lambda ranks: ranks)


def test_a_function_and_saved_answers(writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odds, _ = expected(writer)
    values = {text: (-np.log1p(np.exp(-own))).tolist() for text, own in zip(ASKED, odds, strict=True)}
    Path("theirs.py").write_text(
        f"VALUES = {values!r}\ndef ask(inputs):\n    return [VALUES[text] for text in inputs]\n"
    )
    config = TargetConfig.model_validate({"kind": "python", "function": "theirs.ask", "meaning": "tokens"})
    records = query(config, writer.texts(ASKED), tmp_path)
    require_expected(records, writer, lambda ranks: np.full_like(ranks, UNSEEN))

    np.save("answers.npy", records)
    saved = {"kind": "predictions", "path": "answers.npy", "meaning": "tokens"}
    np.testing.assert_array_equal(
        query(TargetConfig.model_validate(saved), writer.texts(ASKED), tmp_path, np.zeros((5, 1))), records
    )
    np.save("answers.npy", records["log_odds"])
    with pytest.raises(TmiError, match=r"answers.npy has type float16 and shape .*, expected \(5, 1, \d+\) of what"):
        query(TargetConfig.model_validate(saved), writer.texts(ASKED), tmp_path)
    Path("short.py").write_text("def ask(inputs):\n    return [[-1.0] for _ in inputs]\n")
    config = TargetConfig.model_validate({"kind": "python", "function": "short.ask", "meaning": "tokens"})
    with pytest.raises(TmiError, match=r"for a text there is shape \(1,\), expected .* of other tokens than ours"):
        query(config, writer.texts(ASKED), tmp_path)


def test_another_tokenizer_asks_anew(server: Server, writer: Writer, tmp_path: Path) -> None:
    server.answer = writer.complete
    query(endpoint(server), writer.texts(ASKED), tmp_path)
    with pytest.raises(TmiError, match="other tokens than ours"):
        query(endpoint(server), texts_of(train_tokenizer(OTHERS, 300), ASKED), tmp_path)


def changed(answer: Any, change: Callable[[Any], None]) -> Any:
    def other(number: int, body: Any) -> tuple[int, dict[str, str], str]:
        status, headers, text = answer(number, body)
        document = json.loads(text)
        change(document)
        return status, headers, json.dumps(document)

    return other


def of_first(change: Callable[[Any], None]) -> Callable[[Any], None]:
    """A change of what is said about the first text."""
    return lambda document: change(next(each for each in document["choices"] if each["index"] == 0)["logprobs"])


def only_written(said: Any) -> None:
    """What servers that take no notice of ``echo`` answer."""
    for key in ("tokens", "token_logprobs", "top_logprobs"):
        said[key] = said[key][-1:]


NONE = r"no log-probabilities of the prompt's tokens, which target.meaning 'tokens' needs: ask for them with"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda document: document.pop("choices"), "has no list 'choices'"),
        (lambda document: document["choices"].pop(), "has 1 choices, expected 2, one per text sent"),
        (lambda document: document["choices"][0].update(logprobs=None), NONE),
        (of_first(only_written), NONE),
        (of_first(lambda said: said["token_logprobs"].__setitem__(2, None)), f"{NONE}.*: some are no numbers"),
        (of_first(lambda said: said["token_logprobs"].__setitem__(2, 0.5)), "log-probability 0.5, expected at most 0"),
        (of_first(lambda said: said["token_logprobs"].pop()), "expected as many token_logprobs"),
        (of_first(lambda said: said["tokens"].__setitem__(3, "zebra")), r"other tokens than ours, token 3 being zebra"),
        (of_first(lambda said: said["tokens"].__setitem__(3, ["the"])), r"other tokens than ours, token 3 being"),
        (of_first(lambda said: [said[key].pop(0) for key in said]), "other tokens than ours, token 0 being"),
    ],
)
def test_answers_about_anything_else_are_refused(
    server: Server, writer: Writer, tmp_path: Path, change: Callable[[Any], None], sentence: str
) -> None:
    server.answer = changed(writer.complete, change)
    with pytest.raises(TmiError, match=f"target 'theirs': .*{sentence}") as error:
        query(endpoint(server), writer.texts(ASKED), tmp_path)
    assert str(error.value).endswith("what was answered is kept, and the same command goes on from there")


def test_a_chat_about_other_tokens_is_refused(server: Server, writer: Writer, tmp_path: Path) -> None:
    config = endpoint(server, body=CHAT, batch_size=1)
    server.answer = changed(writer.chat, lambda document: document["prompt_logprobs"].pop(4))
    with pytest.raises(TmiError, match="other tokens than ours"):
        query(config, writer.texts(ASKED), tmp_path)

    def with_another(document: Any) -> None:
        # Ours may be among the likeliest all the same: that says that it might have been there.
        for place in document["prompt_logprobs"][4:6]:
            for entry in place.values():
                entry["rank"] = min(entry["rank"], 5)
            place["299"] = {"logprob": -20.0, "rank": 200}

    server.answer = changed(writer.chat, with_another)
    with pytest.raises(TmiError, match=r"other tokens than ours, token \d+ being .*299"):
        query(config, writer.texts(ASKED), tmp_path)
    server.answer = changed(writer.chat, lambda document: document.pop("prompt_logprobs"))
    with pytest.raises(TmiError, match=NONE):
        query(config, writer.texts(ASKED), tmp_path)


def test_a_saved_model_of_fewer_or_shorter_texts_is_refused(writer: Writer, tmp_path: Path) -> None:
    config = TargetConfig.model_validate({"kind": "checkpoint", "path": str(writer.folder)})
    long = " ".join(["the river"] * 40)
    with pytest.raises(TmiError, match="reads at most 64 tokens, found queries of"):
        query(config, writer.texts([long], 200), tmp_path, np.array([[long]], dtype=object))
    texts = Texts({"a": (0, 5000)}, 1, 63, writer.tokenizer.spellings, "")
    with pytest.raises(TmiError, match="the run's tokenizer has more: it is the tokenizer of another model"):
        query(config, texts, tmp_path, np.array([["a"]], dtype=object))
    empty = TargetConfig.model_validate({"kind": "checkpoint", "path": str(tmp_path)})
    with pytest.raises(TmiError, match=r"has no \*.safetensors"):
        query(empty, writer.texts(ASKED), tmp_path)


def test_ranks_are_known_as_far_as_the_likeliest_tokens_are_told(
    server: Server, writer: Writer, tmp_path: Path
) -> None:
    """Two tokens may have one text, of which an object holds one: then a token behind all others may be any."""
    text = QUERIES[:1]
    ids, _ = writer.log_p(ASKED[0])
    told = [{"a": -1.0, "b": -2.0, "own": -1.5}, {"a": -1.0, "own": -1.5}, {"own": -1.5, "a": -2.0}, None, {}]

    def change(said: Any) -> None:
        said["token_logprobs"][1 : len(ids)] = [-1.5] * (len(ids) - 1)
        said["top_logprobs"] = [None, *told, *[None] * (len(ids) - 6)]

    server.answer = changed(writer.complete, of_first(change))
    records = query(endpoint(server, body=BODY.replace("5}", "3}")), writer.texts(ASKED), tmp_path, text)
    assert records["rank"][0, 0, :5].tolist() == [1, UNSEEN, 0, UNSEEN, UNSEEN]
