"""The content of ``results.json``, schema 1: every figure of an audit with what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from tmi.errors import TmiError
from tmi.predictions.views import LOGITS
from tmi.report.tables import (
    Attack,
    Comparisons,
    Data,
    Design,
    Evaluation,
    Figures,
    InputNote,
    Models,
    Points,
    Provenance,
    Resolution,
    ResultsTable,
    Target,
    Together,
    Variants,
    WithoutShadows,
)
from tmi.system.files import read_json, write_json

SCHEMA = 1
# Where one true positive rate stands for all, it is the one at this false positive rate or the next higher one.
REPRESENTATIVE_RATE = 0.01


class Results(ResultsTable):
    """Everything that a report shows.

    Attributes:
        kind: ``run`` or ``saved predictions``, of whose models nothing else is known; ``no shadow models`` if one
            model's answers are all there is: then no attack is judged, and ``without_shadows`` says what was found.
        headline: the attack that the verdict speaks of. The evaluation chooses it without looking at the outcome: the
            strongest of many attacks looks stronger than it is.
        notes: findings of checks of the input.
        design: how membership was drawn; earlier versions did not say.
        stages: seconds by stage.
        resolution: by false positive rate.
        views: by view and attack, where there are several views.
        shadows: by number of shadow models and attack, where numbers were asked for.
        together: by number of finetunings and attack, where several are seen together.
    """

    kind: Literal["run", "saved predictions", "no shadow models"]
    name: str
    description: str
    seed: int
    version: str
    view: str
    headline: str
    notes: list[InputNote] = Field(default=[])
    attacks: dict[str, Attack]
    models: Models
    design: Design | None = None
    stages: dict[str, float]
    data: Data
    evaluation: Evaluation
    resolution: dict[str, Resolution]
    provenance: Provenance
    points: Points
    comparisons: Comparisons
    target: Target | None = None
    without_shadows: WithoutShadows | None = None
    views: dict[str, dict[str, Figures]] | None = None
    shadows: dict[str, dict[str, Figures]] | None = None
    together: Together | None = None
    variants: Variants | None = None

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a ``results.json``.

        Raises:
            TmiError: it is missing or no JSON object, a key is missing or unknown, or a value of the wrong type.
        """
        document = read_json(path)
        if document is None:
            raise TmiError(f"{path} {'is no JSON object' if path.exists() else 'is missing'}, expected results of tmi")
        return cls.of(document, str(path))

    @classmethod
    def of(cls, document: dict[str, Any], origin: str = "results.json") -> Results:
        """The results in a document; ``origin`` names it in error messages.

        Raises:
            TmiError: a key is missing or unknown, or a value of the wrong type.
        """
        tables = dict(document)
        if (schema := tables.pop("schema", None)) != SCHEMA:
            raise TmiError(f"{origin}: the key 'schema' is {schema!r}, expected {SCHEMA}")
        try:
            return cls.model_validate(tables)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"]))
            if problem["type"].startswith("missing"):
                raise TmiError(f"{origin}: the key {key!r} is missing, expected results of tmi") from None
            if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
                raise TmiError(f"{origin}: unknown key {key!r}, expected results of this version of tmi") from None
            message = problem["msg"].removeprefix("Value error, ")
            where = f"the key {key!r} is {str(problem['input'])[:80]!r}: " if key else ""
            raise TmiError(f"{origin}: {where}{message[0].lower()}{message[1:]}") from None

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, tables: Any) -> Any:
        """Files of earlier versions name the headline only where they list the points, and no view if it is logits."""
        if not isinstance(tables, dict):
            return tables
        points = tables.get("points")
        known = {"headline": points["attack"]} if isinstance(points, dict) and "attack" in points else {}
        return {"view": LOGITS.name} | known | tables

    @model_validator(mode="after")
    def _names_agree(self) -> Results:
        if self.headline not in self.attacks and self.without_shadows is None:
            raise ValueError(f"the key 'headline' is {self.headline!r}, expected one of {', '.join(self.attacks)}")
        return self

    def save(self, path: Path) -> None:
        """Write ``results.json``."""
        write_json(path, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as in the file."""
        return {"schema": SCHEMA} | self.model_dump()

    @property
    def main(self) -> Attack:
        """The attack that the verdict speaks of."""
        return self.attacks[self.headline]

    @property
    def ranked(self) -> list[str]:
        """Names of the attacks that the adversary can run, without those with direct access, highest AUC first."""
        return self._by_auc(direct_access=False)

    @property
    def direct(self) -> list[str]:
        """Names of the attacks that query the pretrained models themselves, highest AUC first; mostly one or none."""
        return self._by_auc(direct_access=True)

    def _by_auc(self, direct_access: bool) -> list[str]:
        names = [name for name, attack in self.attacks.items() if attack.direct_access == direct_access]
        return sorted(names, key=lambda name: -self.attacks[name].auc.estimate)

    @property
    def rates(self) -> list[str]:
        """Keys of ``tpr_at_fpr``, lowest rate first."""
        return sorted(self.main.tpr_at_fpr, key=float)

    @property
    def representative_rate(self) -> str:
        """Key of the true positive rate that is shown where there is room for one."""
        return next((rate for rate in self.rates if float(rate) >= REPRESENTATIVE_RATE), self.rates[-1])

    @property
    def confidence(self) -> str:
        """The confidence of every interval: ``95%``."""
        return self.evaluation.percent

    @property
    def writes(self) -> bool:
        """Whether the models write, rather than tell classes apart."""
        if self.is_saved:
            return self.data.classes is None
        return self.data.downstream is not None and self.data.downstream.objective == "causal"

    @property
    def is_saved(self) -> bool:
        """Whether predictions were attacked that others saved."""
        return self.kind == "saved predictions"
