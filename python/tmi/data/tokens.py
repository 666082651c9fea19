"""Texts as tokens: byte-level BPE that is trained on texts, or a tokenizer that exists already."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from tmi.errors import TmiError
from tmi.system.files import LARGEST_JSON, parse_json, read_text, require_files
from tmi.system.hub import folder_on_hub
from tmi.system.libraries import explained
from tmi.system.memory import require_room

# What stands after the last token of a text. No tokenizer has this id: a network tells by it what to attend to.
PADDING = -1
# The special tokens of a tokenizer that is trained: ids 0, 1 and 2.
PAD, FIRST, MASK = "[PAD]", "[CLS]", "[MASK]"
# What other tokenizers call the token that hides a word, and the one that begins a text.
MASKS = (MASK, "<mask>")
FIRSTS = (FIRST, "<s>", "<bos>", "<|endoftext|>")
# A pair of tokens is merged if it occurs so often, as in GPT-2's (Radford et al. 2019).
LEAST_OCCURRENCES = 2
# Files by which a directory is known to hold a tokenizer, and those that are fetched from the hub; no pickle is.
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "*.bpe.model")
SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
# Ten times as many as any tokenizer has.
MOST_TOKENS = 1 << 22
# Characters of a text by which an error message names it.
BEGINNING = 40


@final
@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer of the library ``tokenizers``; equal ones do the same.

    Attributes:
        content: what its ``tokenizer.json`` holds, which is all about it.
    """

    content: str = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the content."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    @cached_property
    def vocabulary(self) -> int:
        """Number of tokens; all ids are below it."""
        return max(self._backend.get_vocab().values()) + 1

    @property
    def mask_token(self) -> str | None:
        """The text that stands for a hidden word; None if the tokenizer was not made for that."""
        return next((token for token in MASKS if token in self._special), None)

    @property
    def mask_id(self) -> int | None:
        """The id of that token."""
        return None if self.mask_token is None else self._special[self.mask_token]

    def encode(
        self, texts: Sequence[str] | NDArray[np.object_], length: int | None, truncate: bool = False
    ) -> NDArray[np.int64]:
        """Texts as ids.

        Args:
            texts: any strings. A text without tokens becomes the token that begins a text, or token 0 if the tokenizer
                has no such token. The texts of special tokens, such as ``[MASK]``, stand for these tokens.
            length: most tokens of a text, those that the tokenizer adds included; None: as many as the longest has.
            truncate: cut longer texts at their end; what the tokenizer adds there is kept.

        Returns:
            int64 ``[texts, length]``: the ids, then ``PADDING``.

        Raises:
            TmiError: a text has more tokens and is not to be cut, or ``length`` leaves no room for any.
        """
        backend = self._backend
        if length is not None and (added := backend.num_special_tokens_to_add(False)) >= length:
            raise TmiError(f"encoder.length is {length}, expected more than the {added} tokens that every text gets")
        self._cut(length if truncate else None)
        # One by one: in batches, the library would start threads of its own in every worker process, for little.
        with explained("the tokenizer of encoder.tokenizer fails"):
            found = [np.array(backend.encode(text).ids or [self._first], dtype=np.int64) for text in texts]
        numbers = np.array([len(ids) for ids in found], dtype=np.int64)
        longest = int(numbers.max(initial=1)) if length is None else length
        _require_short(texts, numbers, longest)
        require_room(8 * len(found) * longest, f"an array of {len(found):,} texts of up to {longest:,} tokens")
        encoded = np.full((len(texts), longest), PADDING, dtype=np.int64)
        for row, ids in zip(encoded, found, strict=True):
            row[: len(ids)] = ids
        return encoded

    def spellings(self, index: int) -> frozenset[str] | None:
        """The texts by which others call a token; None of a part of a character, which each calls in its own way."""
        known = self._backend.id_to_token(index) or ""
        decoded = self._backend.decode([index], skip_special_tokens=False)
        if "\ufffd" in decoded:
            return None
        # As in the vocabulary, as in a text, with the space before a word that some vocabularies write as ▁, and by id.
        return frozenset({known, decoded, known.replace("▁", " "), f"token_id:{index}"})

    def ends(self, text: str, length: int | None) -> list[int]:
        """Where the tokens of a text end in it, in characters, 0 of those that were added; no more than ``length``."""
        self._cut(length)
        return [end for _, end in self._backend.encode(text).offsets] or [0]

    def save(self, path: Path) -> None:
        """Write the tokenizer as ``tokenizer.json``, which `load_tokenizer` and the library ``tokenizers`` read."""
        path.write_text(self.content, encoding="utf-8")

    def _cut(self, length: int | None) -> None:
        if length is None:
            self._backend.no_truncation()
        else:
            self._backend.enable_truncation(length)

    @cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self.content)

    @cached_property
    def _special(self) -> dict[str, int]:
        """The ids of the tokens that are read as such in a text."""
        return {token.content: index for index, token in self._backend.get_added_tokens_decoder().items()}

    @property
    def _first(self) -> int:
        return next((self._special[token] for token in FIRSTS if token in self._special), 0)


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), which loses nothing of any text.

    The result depends on the texts alone, not on their order nor on the number of threads.

    Args:
        texts: what to learn the frequent tokens from.
        vocabulary: number of tokens, of which 259 are the bytes, ``[PAD]``, ``[CLS]``, with which every text begins,
            and ``[MASK]``. There are fewer if the texts have fewer pairs that occur twice.
    """
    backend = tokenizers.Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    # The mask takes the space before it along, as the words do that it stands for.
    special = [PAD, FIRST, tokenizers.AddedToken(MASK, lstrip=True, special=True)]
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=LEAST_OCCURRENCES,
        special_tokens=special,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    with _on_one_thread():
        backend.train_from_iterator(texts, trainer)
    backend.post_processor = TemplateProcessing(single=f"{FIRST} $A", special_tokens=[(FIRST, special.index(FIRST))])
    return Tokenizer(backend.to_str())


def load_tokenizer(name: str, key: str = "encoder.tokenizer") -> Tokenizer:
    """A tokenizer that exists already.

    Args:
        name: a file ``tokenizer.json``, a directory that holds one or the files of another tokenizer that
            transformers reads, or the name of a model of the Hugging Face hub: its tokenizer is taken from the local
            cache, else fetched once.
        key: what named it, for error messages.

    Raises:
        TmiError: there is none of that name, the hub is out of reach, or its files cannot be read.
    """
    where = f"{key} {name!r}"
    path = Path(name).expanduser()
    if path.is_dir():
        if not holds_tokenizer(path):
            raise TmiError(f"{where}: the directory holds no tokenizer, expected a file tokenizer.json in it")
        return _from_folder(path, where)
    if path.is_file():
        return _from_file(path, where)
    if path.is_absolute() or name.startswith((".", "~")) or path.suffix == ".json":
        raise TmiError(f"{where}: there is no such file or directory")
    return _from_folder(folder_on_hub(name, where, (*VOCABULARIES, *SETTINGS), holds_tokenizer), where)


def holds_tokenizer(folder: Path) -> bool:
    """Whether a directory has the files of a tokenizer."""
    return any(next(folder.glob(pattern), None) for pattern in VOCABULARIES)


def _from_folder(folder: Path, where: str) -> Tokenizer:
    if (folder / "tokenizer.json").is_file():
        return _from_file(folder / "tokenizer.json", where)
    from transformers import AutoTokenizer

    require_files(folder)
    with explained(f"{where}: {folder} cannot be read as a fast tokenizer"):
        # No code that comes with the files is run.
        loaded = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
        return _plain(loaded.backend_tokenizer)


def _from_file(path: Path, where: str) -> Tokenizer:
    with explained(f"{where}: {path} cannot be read as a tokenizer.json"):
        content = read_text(path, LARGEST_JSON)
        _require_few_ids(parse_json(content, f"{where}: {path}"), f"{where}: {path}")
        return _plain(tokenizers.Tokenizer.from_str(content))


def _require_few_ids(document: Any, where: str) -> None:
    """The library counts up to the highest id when it writes a tokenizer, whatever that is."""
    tables = document if isinstance(document, dict) else {}
    model, added = tables.get("model"), tables.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids = [*vocabulary.values()] if isinstance(vocabulary, dict) else []
    ids += [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    if wrong := [each for each in ids if not isinstance(each, int) or not 0 <= each < MOST_TOKENS]:
        raise TmiError(
            f"{where}: a token has the id {str(wrong[0])[:20]}, expected whole numbers below {MOST_TOKENS:,}"
        )


def _plain(backend: tokenizers.Tokenizer) -> Tokenizer:
    """Without the lengths that some files come with: these are the configuration's."""
    backend.no_padding()
    backend.no_truncation()
    tokenizer = Tokenizer(backend.to_str())
    # What the library writes of a strange one it does not read again, and one without tokens has no number of them.
    assert tokenizer.vocabulary
    return tokenizer


def _require_short(texts: Sequence[str] | NDArray[np.object_], numbers: NDArray[np.int64], length: int) -> None:
    if numbers.max(initial=0) <= length:
        return
    longer = numbers > length
    index = int(longer.argmax())
    raise TmiError(
        f"point {index} ({texts[index][:BEGINNING]!r}...) has {numbers[index]} tokens, expected at most "
        f"encoder.length, which is {length} ({longer.sum()} of {len(numbers)} points have more, the longest "
        f"{numbers.max()}): raise encoder.length, cut the texts with chunk_words, set encoder.truncate = true, or "
        "encoder.stride if they are the pool's and models write"
    )


@contextmanager
def _on_one_thread() -> Iterator[None]:
    """Keep the library to one thread, as every worker process is; its other threads would outlive the training."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
