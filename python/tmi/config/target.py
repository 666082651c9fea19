"""The table about a target model that is none of the run's own: what it is and how it is asked."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator, model_validator

from tmi.config.base import Table
from tmi.errors import TmiError

Meaning = Literal["logits", "probabilities", "log-probabilities", "label", "tokens"]
# ``${NAME}`` in a template: an environment variable, or one of INPUTS.
PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
INPUTS = ("input", "inputs")
# Keys of a request that ask an endpoint for the log-probabilities of tokens, and of how many others in their place.
LOG_PROBABILITIES = ("logprobs", "prompt_logprobs")
# Names of headers and of parameters of an address whose values are secrets.
SECRET = re.compile(r"authorization|cookie|token|secret|password|api[-_]?key", re.IGNORECASE)
# What never changes an answer.
UNIMPORTANT = ("name", "batch_size", "budget", "per_second", "retries", "timeout_seconds")
# The keys that each kind needs, and those that it may have besides; ``kind`` and ``name`` belong to all.
NEEDED = {
    "http": ("url", "body", "meaning"),
    "python": ("function", "meaning"),
    "checkpoint": ("path",),
    "predictions": ("path", "meaning"),
}
ALLOWED = {
    "http": (
        *("method", "headers", "image", "batch_size", "scores", "names", "classes"),
        *("budget", "per_second", "retries", "timeout_seconds"),
    ),
    "python": ("batch_size",),
    "checkpoint": ("batch_size", "classes"),
    "predictions": (),
}


class TargetConfig(Table):
    """A target model of unknown membership.

    Secrets are never part of it: ``${NAME}`` in ``url``, ``headers`` and ``body`` stands for an environment variable.
    What is wrong with several keys together is raised as `TmiError`, not as ``ValueError``: the sentence that is made
    of the latter shows the whole table, with what might be a secret in it.
    """

    kind: Literal["http", "python", "checkpoint", "predictions"]
    """An endpoint, a Python function, a saved model of transformers, or saved answers."""
    name: str = "target"
    """What the report calls it."""
    url: str | None = None
    """Where requests are sent, http or https."""
    method: Literal["POST", "PUT"] = "POST"
    """Of the requests."""
    headers: dict[str, str] = {}
    """Of the requests; ``${NAME}`` is read from the environment when one is sent."""
    body: str | None = None
    """JSON with ``${input}``, one point, or ``${inputs}``, a list of up to ``batch_size`` of them."""
    image: Literal["png", "list"] = "png"
    """An image in ``body``: PNG in base64, or nested lists of its numbers."""
    batch_size: Annotated[int, Field(ge=1)] = 1
    """Most points in a request or call."""
    scores: str | None = None
    """Where in an answer the classes' numbers are: keys and positions with dots between, ``*`` for each of a list. Not
    of ``tokens``, which are where the interface of OpenAI has them."""
    names: str | None = None
    """Where in an answer the classes' names are, in the order of the numbers."""
    classes: list[str] = []
    """The names of the classes in the order of the downstream task's."""
    meaning: Meaning | None = None
    """What the numbers are; ``tokens``: log-probabilities of the tokens of texts, of models that write."""
    budget: Annotated[int, Field(ge=1)] = 10_000
    """Most points ever sent, again and again ones counted each time, kept answers not."""
    per_second: Annotated[float, Field(ge=0.0001)] = 5.0
    """Most requests in a second."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a request is sent again."""
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """Of one request, from its start to the last byte of its answer."""
    function: str | None = None
    """``module.function`` of ``python``: called with ``inputs``, returns ``[inputs, classes]``; of ``tokens``, for each
    input the log-probabilities of its tokens but the first."""
    path: str | None = None
    """The directory of ``checkpoint`` or the file of ``predictions``."""

    @field_validator("headers", mode="before")
    @classmethod
    def _headers_are_texts(cls, headers: Any) -> Any:
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise TmiError("target.headers is expected to be a table of texts, such as { Accept = 'application/json' }")
        return headers

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> TargetConfig:
        needed, allowed = NEEDED[self.kind], ALLOWED[self.kind]
        for key in needed:
            if getattr(self, key) is None:
                raise TmiError(f"the key 'target.{key}' is missing, which target.kind {self.kind!r} needs")
        known = {"kind", "name", *needed, *allowed}
        for key, field in type(self).model_fields.items():
            # The complete configuration that a run writes has every default.
            if key not in known and getattr(self, key) != field.default:
                raise TmiError(f"target.{key} is given, which does not belong to target.kind {self.kind!r}")
        if self.kind == "http":
            _check_address(str(self.url))
            _check_headers(self.headers)
            self._check_body()
            self._check_names()
            if self.meaning == "tokens":
                self._check_asked_for_tokens()
            elif self.scores is None:
                raise TmiError("the key 'target.scores' is missing, which target.kind 'http' needs")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """The keys that decide what is answered, without secrets; not what files and functions hold."""
        return self.model_dump(exclude=set(UNIMPORTANT))

    @property
    def shown_tokens(self) -> int | None:
        """Of how many of the likeliest tokens in each place the target says that they are; None: of all."""
        if self.kind == "python":
            return 0
        if self.kind != "http" or isinstance(self._asked.get("prompt_logprobs"), int):
            return None
        return int(self._asked["logprobs"])

    @property
    def asked_prompt_tokens(self) -> int:
        """How many of the likeliest tokens an endpoint is asked for in each place of a prompt, by their ids."""
        number = self._asked.get("prompt_logprobs")
        return number if isinstance(number, int) else 0

    @property
    def most_written(self) -> int:
        """How many tokens an endpoint may write behind a text, as the interface of OpenAI has it."""
        number = self._asked.get("max_tokens", 16)
        return number if isinstance(number, int) else 0

    @property
    def tells_of_vocabulary(self) -> bool:
        """Whether it says how likely all other tokens are in the place of each."""
        return self.kind in ("checkpoint", "predictions")

    @property
    def _asked(self) -> dict[str, Any]:
        """What a request asks for, without what is sent."""
        body = json.loads(PLACEHOLDER.sub(lambda name: "0" if name[1] in INPUTS else "x", str(self.body)))
        return body if isinstance(body, dict) else {}

    @property
    def batched(self) -> bool:
        """Whether a request holds a list of points."""
        return any(name == "inputs" for name in PLACEHOLDER.findall(self.body or ""))

    def _check_body(self) -> None:
        body = str(self.body)
        found = [name for name in PLACEHOLDER.findall(body) if name in INPUTS]
        if len(found) != 1:
            raise TmiError(f"target.body has {len(found)} of ${{input}} and ${{inputs}}, expected exactly one")
        try:
            json.loads(PLACEHOLDER.sub(lambda name: "0" if name[1] in INPUTS else "x", body))
        except ValueError:
            raise TmiError(
                "target.body is not JSON; ${input} and ${inputs} stand without quotes, environment variables within"
            ) from None
        if self.batch_size > 1 and not self.batched:
            raise TmiError(f"target.batch_size is {self.batch_size}, which needs ${{inputs}} in target.body")
        for key in ("scores", "names"):
            path = getattr(self, key)
            if path is not None and not all(path.split(".")):
                raise TmiError(f"target.{key} is {path!r}, expected keys and positions with dots between: '0.*.score'")
            if path is not None and self.batched and "*" not in path.split("."):
                raise TmiError(f"target.{key} is {path!r}, expected a * for the points, which ${{inputs}} sends")

    def _check_asked_for_tokens(self) -> None:
        for key in ("scores", "names", "classes"):
            if getattr(self, key):
                raise TmiError(f"target.{key} is given, which does not belong to target.meaning 'tokens'")
        numbers = [self._asked.get(key) for key in LOG_PROBABILITIES]
        if not any(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
            raise TmiError(
                "target.body asks for no log-probabilities, which target.meaning 'tokens' needs: expected "
                '"echo": true and "logprobs": 5, or "prompt_logprobs": 5'
            )

    def _check_names(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise TmiError("target.classes has a name twice")
        if self.names is not None and not self.classes:
            raise TmiError("target.names needs target.classes, the order in which the names are put")
        if self.names is not None and self.meaning == "label":
            raise TmiError("target.names is given besides target.meaning 'label': let target.scores lead to the label")


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise TmiError("target.url is no address, expected one such as 'https://api.example.org/classify'") from None
    if parts.scheme not in ("http", "https") or not host:
        raise TmiError("target.url is expected to start with https:// or http:// and a host")
    if "@" in parts.netloc or PLACEHOLDER.search(parts.netloc):
        raise TmiError("target.url has more than a host and port after //; credentials belong in target.headers")
    for name, value in parse_qsl(parts.query):
        if SECRET.search(name) and not PLACEHOLDER.search(value):
            raise TmiError(f"target.url has a value for {name!r} in it, expected ${{NAME}}, an environment variable")
    if set(PLACEHOLDER.findall(url)) & set(INPUTS):
        raise TmiError("target.url has ${input} in it, which belongs in target.body")


def _check_headers(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not (value.isascii() and value.isprintable()):
            raise TmiError(f"target.headers has {name!r}, which or whose value is no text that a header can hold")
        if SECRET.search(name) and not PLACEHOLDER.search(value):
            raise TmiError(
                f"target.headers has a value for {name!r} in it, expected ${{NAME}}, an environment variable, "
                "so that it is never written to a file"
            )
        if set(PLACEHOLDER.findall(value)) & set(INPUTS):
            raise TmiError(f"target.headers has ${{input}} in {name!r}, which belongs in target.body")
