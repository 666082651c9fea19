"""The report as one HTML page that needs nothing but itself: no network, no scripts, no fonts."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from tmi.report import finetunings, wording
from tmi.report.learning import training_warnings
from tmi.report.table import verdict
from tmi.report.wording import Results
from tmi.views import LOGITS, View

LONGEST_SIDE = 256
"""Pixels to which larger images are shrunk: a page with full-size photographs would hardly load."""

LONGEST_TEXT = 600
"""Characters of a text that are shown."""

MOST_VALUES = 12
"""Values of a vector that are shown."""


@dataclass(frozen=True)
class Exhibit:
    """What a point of the pool looks like.

    Attributes:
        kind: how ``content`` is to be shown.
        content: ``image``: ``[height, width]``, ``[height, width, 3]`` or ``[channels, height, width]``,
            floats in [0, 1] or uint8; ``text``: a ``str``; ``vector``: a one-dimensional array.
    """

    kind: Literal["image", "text", "vector"]
    content: NDArray[Any] | str

    @property
    def html(self) -> Markup:
        """The content as an HTML element; text is escaped.

        Raises:
            ValueError: the content is no image of the shapes above.
        """
        if self.kind == "image":
            encoded = base64.b64encode(png_of_image(np.asarray(self.content))).decode()
            return Markup('<img src="data:image/png;base64,{}" alt="">').format(encoded)
        if self.kind == "text":
            return Markup("<blockquote>{}</blockquote>").format(_shortened(str(self.content)))
        return Markup("<code>{}</code>").format(_first_values(np.asarray(self.content)))


@dataclass(frozen=True)
class Quality:
    """One row of the table of model accuracies; all fractions."""

    task: str
    data: str
    mean: float
    sd: float
    min: float
    max: float


def render_page(
    results: Results,
    exhibits: Sequence[Exhibit],
    roc_svg: str,
    config_toml: str,
    further_svgs: Mapping[str, str] | None = None,
) -> str:
    """The report as HTML.

    Args:
        results: the content of results.json.
        exhibits: what the points of ``results["points"]["most_exposed"]`` look like, in that order; empty
            where that is not known.
        roc_svg: the ROC figure, trusted to be an SVG of this package.
        config_toml: the resolved configuration.
        further_svgs: the figures of ``results["views"]``, ``results["shadows"]`` and ``results["variants"]``, trusted
            likewise; a section without its figure has the table alone.

    Raises:
        ValueError: the number of exhibits is not that of the points, or one of them cannot be shown.
    """
    points = results["points"]["most_exposed"]
    if exhibits and len(exhibits) != len(points):
        raise ValueError(f"got {len(exhibits)} exhibits, expected one for each of the {len(points)} points")
    template = _environment().get_template("template.html.j2")
    return template.render(
        results=results,
        verdict=verdict(results),
        ranked=wording.ranked(results),
        upper_bounds=wording.upper_bounds(results),
        default_attack=wording.DEFAULT_ATTACK,
        rates=wording.false_positive_rates(results),
        confidence=wording.confidence(results),
        resolution_note=wording.resolution_note(results),
        comparisons={name: entry for name, entry in results["comparisons"].items() if name != "against"},
        qualities=list(_qualities(results)),
        warnings=training_warnings(results),
        points=list(zip_longest(points, exhibits)),
        extreme=expected_extreme(results),
        roc_svg=_embedded(roc_svg),
        finetunings=finetunings.finetunings(results) if "variants" in results else [],
        details=finetunings.details,
        privacy=_privacy(results),
        privacy_notes=(finetunings.PRIVACY_NOTE, finetunings.COMPARISON_NOTE),
        any_private=finetunings.any_private(results),
        baseline_attack=wording.BASELINE_ATTACK,
        representative_rate=wording.representative_rate(results),
        further_svgs={name: _embedded(svg) for name, svg in (further_svgs or {}).items()},
        view_of=lambda name: View.parse(name).description,
        main_view=results.get("view", LOGITS.name),
        config_toml=config_toml,
    )


def _privacy(results: Results) -> str:
    """What the finetuning of the run itself promises its own points; empty where it is not private."""
    private = results["data"]["downstream"]["private"]
    if private is None:
        return ""
    epsilon = finetunings.epsilon_text(finetunings.epsilon_of(private))
    promise = f"ε = {epsilon} at δ = {private['delta']:g}" if "epsilon" in private else f"ε = {epsilon}, without noise"
    return (
        f"{promise}; {private['steps']:,} steps with noise multiplier {private['noise_multiplier']:.3g}, "
        f"each on a random {wording.percent(private['sampling_rate'])} of the points"
    )


def _embedded(svg: str) -> Markup:
    """An SVG without its XML prolog, which HTML does not know."""
    return Markup(svg[svg.index("<svg") :])


def expected_extreme(results: Results) -> float | None:
    """The highest per-point AUC to expect if nothing leaked at all, from noise alone.

    The AUC of one point is a Mann-Whitney statistic of its IN and OUT targets: without a leak it has mean 1/2
    and variance (in + out + 1) / (12 in out). The expected maximum over the challenge points is that of
    independent normal variables (Blom, Statistical Estimates and Transformed Beta-Variables, 1958).

    Returns:
        The AUC, at most 1, or None where no point was ranked.
    """
    points = results["points"]["most_exposed"]
    if not points:
        return None
    inside, outside = points[0]["targets_in"], points[0]["targets_out"]
    deviation = math.sqrt((inside + outside + 1) / (12 * inside * outside))
    number = results["data"]["challenge_points"]
    quantile = NormalDist().inv_cdf((number - 0.375) / (number + 0.25))
    return min(1.0, 0.5 + deviation * quantile)


def png_of_image(image: NDArray[Any]) -> bytes:
    """An image as PNG, shrunk so that its longest side is at most ``LONGEST_SIDE`` pixels.

    Args:
        image: ``[height, width]``, ``[height, width, 3]`` or ``[channels, height, width]``; uint8, or floats
            of which [0, 1] is shown. Channels other than one or three are averaged to grey.

    Raises:
        ValueError: the array has another shape.
    """
    pixels = _channels_last(image)
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _channels_last(image: NDArray[Any]) -> NDArray[Any]:
    """``[height, width]`` or ``[height, width, 3]``, whatever the layout was."""
    if image.ndim == 2:
        return image
    if image.ndim != 3:
        raise ValueError(f"an image has the shape {list(image.shape)}, expected two or three dimensions")
    if image.shape[0] == 3 or image.shape[2] not in (1, 3):
        image = np.moveaxis(image, 0, 2)
    if image.shape[2] == 3:
        return image
    grey: NDArray[Any] = image.mean(axis=2).astype(image.dtype)
    return grey


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]} … ({len(text):,} characters)"


def _first_values(vector: NDArray[Any]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in vector[:MOST_VALUES])
    return shown if len(vector) <= MOST_VALUES else f"{shown}, … ({len(vector):,} values)"


def _qualities(results: Results) -> Iterator[Quality]:
    for task in ("pretraining", "downstream"):
        for data in ("train", "test"):
            # Nothing is pretrained where a given model is attacked.
            if (accuracy := results["models"].get(f"{task}_{data}_accuracy")) is not None:
                yield Quality(task, data, **accuracy)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tmi.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        finetunings.epsilon_text,
        finetunings.trained,
        wording.difference,
        wording.difference_interval,
        wording.duration,
        wording.interval,
        wording.percent,
        wording.percent_interval,
        wording.signed,
        wording.tpr,
        wording.tpr_difference,
        wording.tpr_difference_interval,
        wording.tpr_interval,
        wording.tpr_label,
    ):
        environment.filters[function.__name__] = function
    return environment
