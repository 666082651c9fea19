"""The tables of ``results.json``.

A field with a default is left out of the file where it has that value; all others are always written, null included.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from tmi.metrics.differences import Comparison
from tmi.metrics.epsilon import EpsilonBound
from tmi.metrics.estimate import Estimate
from tmi.metrics.roc import Curve
from tmi.metrics.set_test import SetTest, ShuffledSetTest

# Whose confidence is looked at: that in a class, or in all tokens of a text.
LooksAt: TypeAlias = Literal["label", "top class of the target", "text"]


class ResultsTable(BaseModel):
    """A table of the file: unknown and missing keys are errors, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        left_out = {
            name for name, field in fields.items() if not field.is_required() and getattr(self, name) == field.default
        }
        return {key: value for key, value in handler(self).items() if key not in left_out}


class InputNote(ResultsTable):
    """What a check of the input found: ``refused``: no figure can be trusted; ``warning``: read them with care."""

    level: Literal["refused", "warning"]
    text: str


class Figures(ResultsTable):
    """What is said of an attack by an adversary who is not the main one.

    Attributes:
        difference: minus the main adversary's, paired; of the attack of the verdict. Earlier versions did not say.
    """

    auc: Estimate
    balanced_accuracy: Estimate
    tpr_at_fpr: dict[str, Estimate]
    difference: Comparison | None = None


class Histogram(ResultsTable):
    """Counts of members and non-members between the ``edges``, one more than there are bins."""

    edges: list[float]
    members: list[int]
    non_members: list[int]


class OfAttack(ResultsTable):
    """What tables of one attack have in common.

    Attributes:
        direct_access: it queries the pretrained models themselves, which is out of the adversary's reach.
    """

    direct_access: bool

    @model_validator(mode="before")
    @classmethod
    def _once_an_upper_bound(cls, table: Any) -> Any:
        """Files of earlier versions call it that."""
        if not isinstance(table, dict) or "upper_bound" not in table:
            return table
        return {"direct_access" if key == "upper_bound" else key: value for key, value in table.items()}


class Attack(OfAttack):
    """An attack and how well it does.

    Attributes:
        tpr_at_fpr: by false positive rate, as in ``"0.001"``; the same rates for every attack.
        neutral: scores of points that all shadow models have or none.
        looks_at: which class, or that it is the whole text, for an attack that looks at one number of each answer.
    """

    summary: str
    source: str
    needs: str
    auc: Estimate
    balanced_accuracy: Estimate
    tpr_at_fpr: dict[str, Estimate]
    roc: Curve
    epsilon: EpsilonBound | None
    histogram: Histogram
    seconds: float
    neutral: int
    options: dict[str, bool | int | float | str] = {}
    looks_at: LooksAt | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, table: Any) -> Any:
        """Bounds on epsilon once rested on one threshold and named it."""
        epsilon = table.get("epsilon") if isinstance(table, dict) else None
        if not isinstance(epsilon, dict) or "threshold" not in epsilon:
            return table
        return table | {"epsilon": {key: value for key, value in epsilon.items() if key != "threshold"}}


class Accuracy(ResultsTable):
    """Accuracies of all models, fractions; of models that predict tokens those among all tokens. Or perplexities."""

    mean: float
    sd: float
    min: float
    max: float


class Models(ResultsTable):
    """The models that were attacked: which of them did not learn, and ``given``, the checkpoint of a given model."""

    count: int
    targets: int
    given: str | None
    pretraining_train_accuracy: Accuracy | None = None
    pretraining_test_accuracy: Accuracy | None = None
    downstream_train_accuracy: Accuracy | None = None
    downstream_test_accuracy: Accuracy | None = None
    downstream_train_perplexity: Accuracy | None = None
    downstream_test_perplexity: Accuracy | None = None
    not_pretrained: list[int]
    not_finetuned: list[int]


class Design(ResultsTable):
    """How membership was drawn; see `tmi.predictions.designs.describe_design`."""

    is_independent: bool
    dispersion: float
    complementary_pairs: int
    fewest_models: int
    most_models: int
    shadows: list[int] | None
    said: str


class Pool(ResultsTable):
    """What was pretrained on."""

    source: str
    non_members: str | None
    points: int
    classes: int
    objective: str
    duplicates: int
    fingerprint: str


class Private(ResultsTable):
    """What differentially private finetuning promises its own points; no epsilon without noise."""

    epsilon: float | None = None
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int


class Downstream(ResultsTable):
    """What was finetuned on, and how: to tell classes apart, or to write such texts (``causal``)."""

    source: str
    objective: str = "classification"
    points: int
    classes: int
    points_per_model: int
    left_out: int
    transfer: str
    private: Private | None
    fingerprint: str


class ReadFile(ResultsTable):
    """A file of an audit of saved predictions."""

    role: str
    path: str
    sha256: str
    shape: list[int]
    dtype: str


class Data(ResultsTable):
    """The points; of a run its pool and downstream task, of saved predictions the files and how they were read.

    The evaluation counts the challenge points and the decisions on members and non-members, over all targets.

    Attributes:
        pretraining_labels: how many different ones the challenge points have, where attacks know them.
    """

    pool: Pool | None = None
    downstream: Downstream | None = None
    files: list[ReadFile] | None = None
    read_as: list[str] | None = None
    classes: int | None = None
    pretraining_labels: int | None = None
    queries_per_point: int
    challenge_points: int = 0
    members: int = 0
    non_members: int = 0


class Evaluation(ResultsTable):
    """How intervals were made."""

    confidence: float
    resamples: int

    @property
    def percent(self) -> str:
        """The confidence of every interval: ``95%``."""
        return f"{100 * self.confidence:g}%"


class Resolution(ResultsTable):
    """Whether the sample resolves a false positive rate, and how many challenge points would."""

    resolvable: bool
    points_needed: int


class Machine(ResultsTable):
    """Where it was computed."""

    system: str
    processor: str
    cores: int | None


class Provenance(ResultsTable):
    """What the figures rest on besides the configuration: versions, SHA-256 of what was read, keys of the stages."""

    packages: dict[str, str]
    python: str
    machine: Machine
    hashes: dict[str, str | None]
    keys: dict[str, str]


class ExposedPoint(ResultsTable):
    """A point by itself, over the targets; None where a figure is not defined.

    Attributes:
        id: what the owner of the data calls it; empty where that is its number.
    """

    point: int
    id: str = ""
    label: str
    auc: float
    low: float | None
    high: float | None
    p_value: float | None
    q_value: float | None
    mean_in: float
    mean_out: float
    targets_in: int
    targets_out: int


class Exposed(ResultsTable):
    """How many of the ``tested`` points are exposed beyond chance at the false discovery rate ``fdr``."""

    fdr: float
    count: int
    tested: int


class Points(ResultsTable):
    """Single points, by the headline attack."""

    attack: str
    most_exposed: list[ExposedPoint]
    exposed: Exposed


class Comparisons(ResultsTable):
    """The headline attack ``against`` every other: differences by the other's name, beside that key in the file."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Comparison] = Field(init=False)

    against: str

    @property
    def others(self) -> dict[str, Comparison]:
        """By the other attack's name."""
        return self.__pydantic_extra__


class Calls(ResultsTable):
    """Points of a target that are called members at a false positive rate; see `tmi.metrics.unknown_target.Calls`."""

    called: int
    expected_false: float
    threshold: float | None
    tpr: Estimate
    resolvable: bool


class TargetAttack(ResultsTable):
    """What an attack finds at a target; ``set_test`` is None where it cannot be computed."""

    set_test: SetTest | None
    calls: dict[str, Calls]


class Suspect(ResultsTable):
    """A point that a target may have been pretrained on; the score is None where it is infinite."""

    index: int
    point: int
    id: str = ""
    score: float | None
    p_value: float
    called: bool
    label: str


class Together(ResultsTable):
    """What adversaries find who see the first so many finetunings of the same models together.

    Attributes:
        finetunings: their names, that of the main adversary first.
        figures: by number of finetunings and attack, for the attacks that look at several.
    """

    finetunings: list[str]
    figures: dict[str, dict[str, Figures]]


class Target(ResultsTable):
    """A target of unknown membership; ``finetunings``: in how many it was seen, by the attacks that look at several."""

    name: str
    points: int
    shadows: int
    finetunings: int = 1
    fpr: float
    attack: str
    attacks: dict[str, TargetAttack]
    most_suspected: list[Suspect]

    @property
    def rates(self) -> list[str]:
        """The false positive rates at which points are called, lowest first."""
        return sorted(self.attacks[self.attack].calls, key=float)


class CallsAlone(ResultsTable):
    """Points of a target without shadow models that are called members at a false positive rate."""

    called: int
    expected_false: float
    resolvable: bool


class RankedPoint(ResultsTable):
    """A point of such a target; where no non-members are known there is a score alone."""

    point: int
    id: str = ""
    label: str
    score: float
    p_value: float | None = None
    q_value: float | None = None
    called: bool | None = None


class WithoutShadows(ResultsTable):
    """A target that was attacked without any shadow model.

    Attributes:
        points: the candidates.
        non_members: points that are known to be no members; all that follows but the ranking is empty without them.
        labels: how many different pretraining labels the points have.
        calls: by false positive rate.
        exposed: points that stand out among all candidates.
    """

    name: str
    points: int
    non_members: int
    labels: int
    fpr: float
    calls: dict[str, CallsAlone] = {}
    exposed: Exposed | None = None
    set_test: ShuffledSetTest | None = None
    most_suspected: list[RankedPoint]

    @property
    def rates(self) -> list[str]:
        """The false positive rates at which points are called, lowest first."""
        return sorted(self.calls, key=float)


class VariantAttack(OfAttack):
    """An attack on one of several finetunings."""

    auc: Estimate
    tpr_at_fpr: dict[str, Estimate]


class VariantRow(ResultsTable):
    """One of several finetunings."""

    transfer: str
    private: Private | None
    source: str
    classes: int
    points_per_model: int
    downstream_test_accuracy: Accuracy
    downstream_test_perplexity: Accuracy | None = None
    not_finetuned: list[int]
    attacks: dict[str, VariantAttack]


class VariantDifference(ResultsTable):
    """A finetuning minus the one that it is compared with, by the headline attack."""

    against: str
    auc: Estimate
    balanced_accuracy: Estimate
    tpr_at_fpr: dict[str, Estimate]


class Variants(ResultsTable):
    """The finetunings by name, that of the run itself first, and their differences."""

    attack: str
    rows: dict[str, VariantRow]
    differences: dict[str, VariantDifference]
