from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from tmi.config import EncoderConfig
from tmi.data.encoding import encode, tokenizer_for
from tmi.data.queries import mask_words, truncate
from tmi.data.sources import load_points
from tmi.data.tokens import PADDING, Tokenizer, load_tokenizer, train_tokenizer
from tmi.errors import TmiError

TEXTS = [str(text) for text in load_points("pydoc:topics").raw[:300]]
TRAINED = train_tokenizer(TEXTS, 600)
BACKEND = tokenizers.Tokenizer.from_str(TRAINED.content)
# No brackets: texts that hold no special token.
plain_texts = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), max_size=60)


def ids_of(row: np.ndarray[Any, Any]) -> list[int]:
    return [int(token) for token in row if token != PADDING]


def word_level(special: list[str], words: list[str], **lengths: Any) -> tokenizers.Tokenizer:
    """A tokenizer of whole words."""
    vocabulary = {word: index for index, word in enumerate([*words, "unknown"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="unknown"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.add_special_tokens(special)
    if lengths:
        backend.enable_truncation(lengths["most"])
        backend.enable_padding(length=lengths["least"])
    return backend


def test_the_special_tokens_and_the_size() -> None:
    vocabulary = BACKEND.get_vocab()
    assert [vocabulary[token] for token in ("[PAD]", "[CLS]", "[MASK]")] == [0, 1, 2]
    assert TRAINED.vocabulary == len(vocabulary) == 600
    assert (TRAINED.mask_token, TRAINED.mask_id) == ("[MASK]", 2)
    # Texts that have no pair twice: the bytes and the special tokens.
    assert train_tokenizer(["ab"], 600).vocabulary == 259
    # What was learned are parts of the texts: they get shorter.
    text = TEXTS[0]
    assert len(BACKEND.encode(text).ids) < len(text.encode()) / 2


@settings(max_examples=200, deadline=None)
@given(plain_texts)
def test_the_ends_of_tokens_cut_a_text_where_it_is_decoded(text: str) -> None:
    ends = TRAINED.ends(text, 300)
    ids = TRAINED.encode([text], 300)[0]
    assert len(ends) == max(1, len(ids_of(ids)))
    assert ends[0] == 0
    assert ends[1:] == sorted(ends[1:])
    assert max(ends) == len(text)
    assert TRAINED.ends(text, 3) == ends[:3]


@settings(max_examples=200, deadline=None)
@given(plain_texts)
def test_decoding_gives_back_every_text(text: str) -> None:
    ids = ids_of(TRAINED.encode([text], 400)[0])
    assert ids[0] == TRAINED.encode([""], 2)[0, 0] == 1
    assert BACKEND.decode(ids[1:], skip_special_tokens=False) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(plain_texts, max_size=5), st.integers(2, 30))
def test_padding_and_truncation(texts: list[str], length: int) -> None:
    encoded = TRAINED.encode(texts, length, truncate=True)
    assert (encoded.dtype, encoded.shape) == (np.int64, (len(texts), length))
    whole = TRAINED.encode(texts, 400)
    for row, ids in zip(encoded, map(ids_of, whole), strict=True):
        expected = ids[:length]
        assert row.tolist() == expected + [PADDING] * (length - len(expected))
    # Each text alone, and after a call that cut: the same.
    assert [ids_of(TRAINED.encode([text], 400)[0]) for text in texts] == [ids_of(row) for row in whole]


def test_texts_that_are_too_long_are_named() -> None:
    with pytest.raises(TmiError) as error:
        TRAINED.encode(["short", *TEXTS[:3]], 20)
    number = len(BACKEND.encode(TEXTS[0]).ids)
    sentence = str(error.value)
    assert sentence.startswith(f"point 1 ({TEXTS[0][:40]!r}...) has {number} tokens, expected at most encoder.length")
    assert "3 of 4 points have more" in sentence
    for remedy in ("encoder.length", "chunk_words", "encoder.truncate = true", "encoder.stride"):
        assert remedy in sentence
    assert TRAINED.encode(["short"], 20).shape == (1, 20)


def test_texts_of_any_length_are_as_wide_as_the_longest() -> None:
    # After a call that cut.
    TRAINED.encode(TEXTS[:3], 5, truncate=True)
    whole = TRAINED.encode(TEXTS[:3], None)
    numbers = [len(BACKEND.encode(text).ids) for text in TEXTS[:3]]
    assert whole.shape == (3, max(numbers))
    assert (whole == TRAINED.encode(TEXTS[:3], max(numbers))).all()
    assert [len(TRAINED.ends(text, None)) for text in TEXTS[:3]] == numbers


TRAIN = """
from pathlib import Path
from tmi.data.sources import load_points
from tmi.data.tokens import train_tokenizer
texts = list(load_points("pydoc:topics").raw[:300])
tasks = Path("/proc/self/task")
threads = len(list(tasks.glob("*")))
trained = train_tokenizer(texts, 600)
assert train_tokenizer(texts[::-1], 600) == trained
trained.encode(texts, 400)
# Where threads can be counted, on Linux.
assert len(list(tasks.glob("*"))) == threads
print(trained.fingerprint)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_training_is_the_same_in_every_process_and_silent(threads: str) -> None:
    environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    environment.pop("TOKENIZERS_PARALLELISM", None)
    command = [sys.executable, "-W", "error", "-c", TRAIN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (TRAINED.fingerprint, "")


def test_training_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "true"):
        if value is None:
            monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
        else:
            monkeypatch.setenv("TOKENIZERS_PARALLELISM", value)
        assert train_tokenizer(TEXTS, 600) == TRAINED
        assert os.environ.get("TOKENIZERS_PARALLELISM") == value


def test_a_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "tokenizer.json")
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load_tokenizer(str(name))
        assert loaded == TRAINED
        assert hash(loaded) == hash(TRAINED)
        assert loaded.fingerprint == TRAINED.fingerprint
    sent = pickle.loads(pickle.dumps(TRAINED))
    assert (sent.encode(TEXTS, 400) == TRAINED.encode(TEXTS, 400)).all()
    assert train_tokenizer(TEXTS, 601).fingerprint != TRAINED.fingerprint
    assert len(repr(TRAINED)) < 100


def test_lengths_of_a_file_are_not_used(tmp_path: Path) -> None:
    word_level([], ["a", "b"], most=2, least=5).save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.encode(["a b a b", "b"], 6).tolist() == [[0, 1, 0, 1, -1, -1], [1, -1, -1, -1, -1, -1]]
    word_level([], ["a", "b"]).save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(str(tmp_path)).fingerprint == loaded.fingerprint


@pytest.mark.parametrize(
    ("special", "mask", "first"),
    [
        (["<s>", "<mask>"], "<mask>", 2),
        (["<|endoftext|>"], None, 2),
        (["[MASK]", "x", "[CLS]"], "[MASK]", 4),
        ([], None, 0),
    ],
)
def test_special_tokens_of_others(special: list[str], mask: str | None, first: int) -> None:
    loaded = Tokenizer(word_level(special, ["a"]).to_str())
    assert loaded.mask_token == mask
    assert loaded.mask_id == (None if mask is None else 2 + special.index(mask))
    assert loaded.vocabulary == 2 + len(special)
    assert loaded.encode(["", "a"], 2).tolist() == [[first, -1], [0, -1]]


def test_a_tokenizer_that_transformers_reads(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.encode(["a bc", "a [MASK]"], 6).tolist() == [[2, 5, 6, 7, 3, -1], [2, 5, 4, 3, -1, -1]]
    # What the tokenizer puts at the end stays there.
    assert loaded.encode(["a b a b"], 4, truncate=True).tolist() == [[2, 5, 6, 3]]
    assert loaded.mask_token == "[MASK]"
    with pytest.raises(TmiError, match=r"encoder.length is 2, expected more than the 2 tokens that every text gets"):
        loaded.encode(["a"], 2)


def changed(**model: Any) -> str:
    """The content of a tokenizer whose model says something else."""
    document = json.loads(TRAINED.content)
    document["model"] |= model
    return json.dumps(document)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "tokenizer.json: not JSON"),
        (changed(vocab={"a": 1 << 40}), "a token has the id 1099511627776, expected whole numbers below 4,194,304"),
        (
            changed(continuing_subword_prefix="longer than any"),
            "cannot be read as a tokenizer.json: PanicException: range",
        ),
        ("{}", "cannot be read as a tokenizer.json"),
        (None, "holds no"),
    ],
)
def test_bad_folders_are_named(tmp_path: Path, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TmiError) as error:
        load_tokenizer(str(tmp_path))
    assert str(error.value).startswith(f"encoder.tokenizer {str(tmp_path)!r}: ")
    assert sentence in str(error.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(TmiError, match=f"{name}: is a pipe or device, which need not end; expected a file"):
        load_tokenizer(str(tmp_path))


def test_a_folder_that_transformers_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("[")
    with pytest.raises(TmiError, match="cannot be read as a fast tokenizer: "):
        load_tokenizer(str(tmp_path))
    for name in (str(tmp_path / "none"), "./none", "none.json"):
        with pytest.raises(TmiError, match=r"there is no such file or directory$"):
            load_tokenizer(name)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub out of reach."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


def test_the_cache_of_the_hub_comes_first(cache: Path) -> None:
    snapshot = cache / "models--me--tok" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (cache / "models--me--tok" / "refs").mkdir()
    (cache / "models--me--tok" / "refs" / "main").write_text("0" * 40)
    TRAINED.save(snapshot / "tokenizer.json")
    assert load_tokenizer("me/tok") == TRAINED
    # Files of the model without its tokenizer do not do.
    (snapshot / "tokenizer.json").rename(snapshot / "config.json")
    with pytest.raises(TmiError, match="run `hf download me/tok --local-dir DIR` where there is a connection"):
        load_tokenizer("me/tok")


def test_a_hub_out_of_reach_is_given_up_soon(cache: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(TmiError) as error:
        load_tokenizer("me/other")
    # The library by itself would try for minutes.
    assert time.perf_counter() - start < 60
    assert "the local Hugging Face cache does not have it, and the hub does not give it (ConnectError" in str(
        error.value
    )
    assert "`hf download me/other --local-dir DIR`" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hub_that_never_answers_is_given_up_soon(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr("tmi.system.hub.PATIENCE", 0.2)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: time.sleep(1))
    with pytest.raises(TmiError, match=r"the hub did not answer within 0.2 seconds; run `hf download me/other"):
        load_tokenizer("me/other")


def test_names_and_settings_for_which_the_hub_is_not_asked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr("tmi.system.hub._ask", None)
    with pytest.raises(
        TmiError, match=r"encoder.tokenizer 'a b/c': there is no such file or directory, and the hub has no"
    ):
        load_tokenizer("a b/c")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TmiError, match="HF_HUB_OFFLINE forbids to ask the hub; run `hf download me/other"):
        load_tokenizer("me/other")


def test_what_the_hub_gives_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fetched(name: str, allow_patterns: list[str] | None = None, local_files_only: bool = False, **_: Any) -> str:
        assert name == "me/other"
        if local_files_only:
            raise FileNotFoundError
        assert allow_patterns is not None
        assert "tokenizer.json" in allow_patterns
        (cache / "fetched").mkdir(exist_ok=True)
        if has_tokenizer:
            TRAINED.save(cache / "fetched" / "tokenizer.json")
        return str(cache / "fetched")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: object())
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    has_tokenizer = False
    with pytest.raises(TmiError, match=r"the hub's has none of the files tokenizer.json, "):
        load_tokenizer("me/other")
    has_tokenizer = True
    assert load_tokenizer("me/other") == TRAINED


def test_the_encoder_of_tokens() -> None:
    config = EncoderConfig(kind="tokens", vocabulary=600, length=200)
    texts = np.array(TEXTS, dtype=object)
    tokenizer = tokenizer_for(config, texts)
    assert tokenizer == TRAINED == tokenizer_for(config, TEXTS)
    assert (encode(texts[:9], "text", config, tokenizer) == TRAINED.encode(TEXTS[:9], 200)).all()
    short = config.model_copy(update={"length": 8, "truncate": True})
    assert encode(texts, "text", short, tokenizer).shape == (300, 8)
    assert tokenizer_for(EncoderConfig(kind="hashed-words"), texts) is None
    with pytest.raises(ValueError, match="needs the tokenizer of tokenizer_for"):
        encode(texts, "text", config)
    with pytest.raises(TmiError, match=r"encoder.kind is 'tokens', which does not read images"):
        encode(np.zeros((2, 3, 3), dtype=np.uint8), "image", config, tokenizer)
    with pytest.raises(TmiError, match="the points of the downstream task are none"):
        tokenizer_for(config, np.zeros((2, 3, 3), dtype=np.uint8))


def test_the_encoder_loads_the_tokenizer_that_it_names(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "tokenizer.json")
    config = EncoderConfig(kind="tokens", tokenizer=str(tmp_path / "tokenizer.json"))
    assert tokenizer_for(config, ["other texts"]) == TRAINED


words = st.lists(st.sampled_from([*TEXTS[0].split(), "x", "don't", "(1)", "été", "!"]), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(words, st.sampled_from([" ", "  ", "\n", "\n\n  "]), st.integers(0, 9))
def test_variations_have_no_more_tokens_than_the_text(drawn: list[str], space: str, seed: int) -> None:
    text = space.join(drawn)
    random = np.random.default_rng(seed)
    masked = mask_words(text, 0.5, TRAINED.mask_token, random)
    number, *others = (len(BACKEND.encode(t).ids) for t in (text, masked, truncate(text, 0.5, random)))
    assert max(others) <= number
    assert BACKEND.encode(masked).ids.count(2) == masked.split().count("[MASK]")


def test_real_articles(shared: Path, tmp_path: Path) -> None:
    unpack = shared / "data" / "unpack.py"
    subprocess.run([sys.executable, unpack, tmp_path, "dbpedia"], check=True, capture_output=True)
    with (tmp_path / "dbpedia14.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(1500), strict=False)]
    tokenizer = train_tokenizer(texts, 2000)
    assert tokenizer.vocabulary == 2000
    encoded = tokenizer.encode(texts, 256, truncate=True)
    # Of English, a token of such a vocabulary has about 3 to 4 bytes.
    assert 2.5 < sum(len(text.encode()) for text in texts) / (encoded != PADDING).sum() < 4.5
