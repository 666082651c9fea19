"""``pydoc:topics``: real texts that ship with Python itself."""

from __future__ import annotations

import re

import numpy as np

from tmi.data.points import Points, pieces
from tmi.errors import TmiError, did_you_mean

# Long enough that a chunk is about something, short enough that there are more than a thousand.
WORDS_PER_CHUNK = 40
# A topic with fewer could not be split into points to finetune on and points to test with.
FEWEST_CHUNKS = 6


def load(name: str) -> Points:
    """``pydoc:topics``: Python's language reference in chunks of 40 words, the label being the topic.

    Topics include one another, so a paragraph is kept only in the shortest topic that has it. Incomplete chunks
    and topics of fewer than 6 chunks are left out. The text is that of the running Python version.

    Raises:
        TmiError: another name, or a Python that was built without its documentation.
    """
    if name != "topics":
        raise TmiError(f"source 'pydoc:{name}': there is no such data set{did_you_mean(name, ['topics'])}")
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TmiError("source 'pydoc:topics': this Python has no module pydoc_data, which holds the text") from None

    chunks_of = {topic: pieces(text, WORDS_PER_CHUNK) for topic, text in _distinct_texts(topics).items()}
    kept = sorted(topic for topic, chunks in chunks_of.items() if len(chunks) >= FEWEST_CHUNKS)
    texts = [chunk for topic in kept for chunk in chunks_of[topic]]
    labels = [label for label, topic in enumerate(kept) for _ in chunks_of[topic]]
    return Points(np.array(texts, dtype=object), np.array(labels, dtype=np.int64), tuple(kept), "text")


def _distinct_texts(topics: dict[str, str]) -> dict[str, str]:
    """The text of every topic without the paragraphs that a shorter topic already has."""
    seen: set[str] = set()
    texts: dict[str, str] = {}
    for topic in sorted(topics, key=lambda topic: (len(topics[topic]), topic)):
        kept: list[str] = []
        for paragraph in re.split(r"\n\s*\n", topics[topic]):
            if (text := " ".join(paragraph.split())) and text not in seen:
                seen.add(text)
                kept.append(text)
        texts[topic] = " ".join(kept)
    return texts
