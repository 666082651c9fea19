"""Does one run leak more than another? The differences between the figures of two run directories.

Where both runs have the same targets (rows of the membership) and the same challenge points, for instance the same
seed and another finetuning, the differences are paired: both are resampled alike, and what they share cancels. Else
the two are resampled independently, and the intervals are wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.config import differences
from tmi.errors import TmiError, did_you_mean
from tmi.metrics.accuracy import accuracy_difference, held_out_accuracy
from tmi.metrics.bootstrap import USUAL, Bootstrap, percentile_interval
from tmi.metrics.differences import Comparison, compare, comparison_of
from tmi.metrics.estimate import detectable
from tmi.report.compared import Compared, ComparedAttack, PlainFigures
from tmi.runs.finished import ScoredRun, read_run
from tmi.runs.keys import TO_NO_SCORE
from tmi.system.progress import Progress, shown

# Seeds of the resamples of unpaired runs: equal ones would draw related targets and points for runs of one shape.
SEED_A, SEED_B = 0, 1


def compare_runs(
    path_a: Path,
    path_b: Path,
    attacks: Sequence[str] = (),
    false_positive_rates: Sequence[float] = (),
    *,
    threads: int = 1,
    progress: Progress | bool | None = None,
) -> dict[str, Any]:
    """Run B minus run A, attack by attack.

    Args:
        path_a: a run directory.
        path_b: another.
        attacks: only these; all that both have if empty.
        false_positive_rates: where true positive rates are compared, in (0, 1); those of A's results if empty.
        threads: for the kernels; never changes a figure.
        progress: shows how far the work is; True for bars on the error stream.

    Returns:
        ``a`` and ``b``: the two runs and their sizes; ``paired``, and ``why`` in a clause; ``evaluation``: how many
        resamples and which confidence (of A's results); ``headline``: the attack that stands for the others;
        ``attacks``: by name, the headline first, the figures ``a`` and ``b``, their ``difference`` (B minus A, see
        `tmi.metrics.differences.Comparison`) and ``detectable``, the difference of the AUC that such an interval
        excludes from 0 in four of five cases; ``configuration``: what differs, or None where it is not known.

    Raises:
        TmiError: bad input, see `read_run`; no attack in common.
    """
    return compared_runs(path_a, path_b, attacks, false_positive_rates, threads=threads, progress=progress).to_dict()


def compared_runs(
    path_a: Path,
    path_b: Path,
    attacks: Sequence[str] = (),
    false_positive_rates: Sequence[float] = (),
    *,
    threads: int = 1,
    progress: Progress | bool | None = None,
) -> Compared:
    """Run B minus run A, attack by attack; see `compare_runs`."""
    progress = shown(progress)
    a, b = read_run(path_a), read_run(path_b)
    names = _common_attacks(a, b, attacks)
    rates = _rates(a, false_positive_rates)
    unlike = _why_unpaired(a, b)
    evaluation = a.results.evaluation
    bootstrap = Bootstrap(evaluation.resamples, evaluation.confidence, threads=threads)
    # One run may have more targets than the other; those that both have are compared.
    rows = slice(None) if unlike else slice(min(len(a.labels), len(b.labels)))
    labels_a, labels_b = a.labels[rows], b.labels[rows]
    entries = {}
    progress.begin("compare", len(names))
    for name in names:
        scores_a, scores_b = a.scores(name)[rows], b.scores(name)[rows]
        if unlike:
            difference = compare_unpaired(scores_b, labels_b, scores_a, labels_a, rates, bootstrap)
        else:
            difference = compare(scores_b, scores_a, labels_a, rates, bootstrap)
        entries[name] = ComparedAttack(
            direct_access=a.results.attacks[name].direct_access,
            a=_figures(scores_a, labels_a, rates, bootstrap),
            b=_figures(scores_b, labels_b, rates, bootstrap),
            difference=difference,
            detectable=detectable(difference.auc, evaluation.confidence),
        )
        progress.advance(1)
    progress.end()
    return Compared(
        a=a.about,
        b=b.about,
        paired=not unlike,
        why=unlike or _why_paired(a, b, len(labels_a)),
        evaluation=evaluation,
        headline=names[0],
        attacks=entries,
        configuration=_configuration(a, b),
    )


def compare_unpaired(
    scores_a: NDArray[np.float64],
    labels_a: NDArray[np.bool_],
    scores_b: NDArray[np.float64],
    labels_b: NDArray[np.bool_],
    false_positive_rates: Sequence[float],
    bootstrap: Bootstrap = USUAL,
) -> Comparison:
    """A minus B where the two share neither targets nor points, from independent resamples of each.

    Args:
        scores_a: float64 ``[targets, points]``, higher = member.
        labels_a: bool, of the same shape.
        scores_b: the other scores, of any shape.
        labels_b: bool, of their shape.
        false_positive_rates: where true positive rates are compared, in (0, 1).
        bootstrap: behind the intervals, which are percentiles of the differences of the calibrated resamples; each
            side has a seed of its own.
    """
    rates = np.asarray(false_positive_rates, dtype=np.float64)

    def figures_of(
        scores: NDArray[np.float64], labels: NDArray[np.bool_], seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        estimates = _core.roc_metrics(scores, labels, rates, threads=bootstrap.threads)
        drawn = replace(bootstrap, seed=seed).draw(scores, labels, rates)
        return estimates, drawn.calibrated(estimates, bootstrap.confidence)

    (estimates_a, samples_a), (estimates_b, samples_b) = (
        figures_of(scores_a, labels_a, SEED_A),
        figures_of(scores_b, labels_b, SEED_B),
    )
    ends = percentile_interval(samples_a - samples_b, bootstrap.confidence)
    accuracy = accuracy_difference(
        held_out_accuracy(scores_a, labels_a, bootstrap.seed),
        held_out_accuracy(scores_b, labels_b, bootstrap.seed),
        bootstrap.confidence,
        paired=False,
    )
    # A rate is resolved if it is in both.
    non_members = min(int((~labels_a).sum()), int((~labels_b).sum()))
    return comparison_of(estimates_a - estimates_b, ends, accuracy, rates, non_members)


def _figures(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], rates: Sequence[float], bootstrap: Bootstrap
) -> PlainFigures:
    auc, _, *found = _core.roc_metrics(scores, labels, np.asarray(rates), threads=bootstrap.threads).tolist()
    accuracy = held_out_accuracy(scores, labels, bootstrap.seed).estimate
    names = [f"{rate:g}" for rate in rates]
    return PlainFigures(auc=auc, balanced_accuracy=accuracy, tpr_at_fpr=dict(zip(names, found, strict=True)))


def _common_attacks(a: ScoredRun, b: ScoredRun, wanted: Sequence[str]) -> list[str]:
    """The attacks to compare, the one that stands for the run first and those with direct access last."""
    for run in (a, b):
        for name in wanted:
            if name not in run.attacks:
                raise TmiError(f"{run.path}: has no scores of an attack {name!r}{did_you_mean(name, run.attacks)}")
    common = list(dict.fromkeys(wanted)) or [name for name in a.attacks if name in b.attacks]
    if not common:
        raise TmiError(
            f"{a.path} and {b.path} have no attack in common: {', '.join(a.attacks)} and {', '.join(b.attacks)}"
        )
    return sorted(common, key=lambda name: (a.results.attacks[name].direct_access, name != a.results.headline))


def _rates(run: ScoredRun, wanted: Sequence[float]) -> list[float]:
    for rate in wanted:
        if not 0 < rate < 1:
            raise TmiError(f"the false positive rate {rate:g} is not between 0 and 1")
    return sorted(set(wanted or map(float, run.results.rates)))


def _why_unpaired(a: ScoredRun, b: ScoredRun) -> str:
    """Why the runs cannot be resampled alike; empty if they can."""
    pools = [run.results.data.pool for run in (a, b)]
    if pools[0] and pools[1] and pools[0].fingerprint != pools[1].fingerprint:
        return "the pools that the points are from differ"
    if not np.array_equal(a.points, b.points):
        return "the challenge points differ"
    common = min(len(a.labels), len(b.labels))
    if not np.array_equal(a.labels[:common], b.labels[:common]):
        return "the memberships of the targets differ, as with another seed"
    return ""


def _why_paired(a: ScoredRun, b: ScoredRun, targets: int) -> str:
    sizes = f"the same {targets:,} targets and {len(a.points):,} points in both"
    if len(a.labels) != len(b.labels):
        sizes += f", which are all that both have (A has {len(a.labels):,} targets, B {len(b.labels):,})"
    # Without numbers, and without the pool that they count in, equal memberships are all there is to go by.
    unnumbered = [name for name, run in (("A", a), ("B", b)) if not run.numbered]
    if unnumbered:
        sizes += f"; the points of {' and '.join(unnumbered)} have no numbers and are taken in their order"
    return sizes


def _configuration(a: ScoredRun, b: ScoredRun) -> list[str] | None:
    """What differs, without what changes no score; None where a configuration is not known."""
    if a.config is None or b.config is None:
        return None
    return [line for line in differences(a.config, b.config) if not line.startswith(TO_NO_SCORE)]
