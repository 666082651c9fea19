"""What the report says, a section in a file: a function from what it is made of to blocks, or None without any."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tmi.report.blocks import Material, Section
from tmi.report.sections import (
    advice,
    attacked,
    attacks,
    bound,
    limits,
    points,
    provenance,
    shadows,
    summary,
    target,
    together,
    variants,
    views,
    without_shadows,
)

SectionOf: TypeAlias = Callable[[Material], Section | None]

# From top to bottom. The first one is the head of the page, and the last thing that a terminal shows.
ORDER: list[SectionOf] = [
    summary.section,
    advice.section,
    limits.section,
    attacked.section,
    target.section,
    attacks.section,
    bound.section,
    views.section,
    shadows.section,
    variants.section,
    together.section,
    points.section,
    provenance.section,
]


# Where no attack was judged, since there are no models whose members are known.
WITHOUT_SHADOWS: list[SectionOf] = [
    without_shadows.head,
    without_shadows.limits,
    without_shadows.section,
    without_shadows.attacked,
    provenance.section,
]


def sections_of(material: Material) -> list[Section]:
    """All sections that have something to say, in their order."""
    order = ORDER if material.results.without_shadows is None else WITHOUT_SHADOWS
    return [section for make in order if (section := make(material)) is not None]
