"""How strong and how quick every attack is on saved predictions, as a Markdown table.

A folder holds the arrays ``predictions.npy``, float16 or float32 ``[models, points, augmentations, classes]`` raw
logits of the finetuned models, and ``membership.npy``, bool ``[models, points]``; with ``pretrained_predictions.npy``,
like the first, attacks with direct access are run as well, and with ``pretraining_labels.npy``, int
``[points]``, or the file of that kind that is named, for the attacks that look at these. The first models play the
target in turn, all others are their shadows; scores are pooled.

    python benches/attack_table.py FOLDER [FOLDER ...] --targets 16
    python benches/attack_table.py FOLDER --attack gaussian --attack tmi --pretraining-labels labels.npy
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tmi.attacks.registry import Needs, all_attacks, attack_named, lacking
from tmi.errors import TmiError
from tmi.metrics.roc import Judgement, judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.intake import as_pretraining_labels

FALSE_POSITIVE_RATE = 0.01


@dataclass(frozen=True)
class Row:
    """What one attack achieves on one folder; the time is the processor's, per target and point, in microseconds."""

    judgement: Judgement
    microseconds: float

    def cells(self) -> list[str]:
        """AUC with its 95% interval, TPR and time."""
        auc = self.judgement.auc
        (found,) = self.judgement.tpr_at_fpr.values()
        return [
            f"{auc.estimate:.3f} [{auc.low:.2f}, {auc.high:.2f}]",
            f"{100 * found.estimate:.1f}%" if found.resolvable else "–",
            f"{self.microseconds:,.0f}" if self.microseconds >= 10 else f"{self.microseconds:.1f}",
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--targets", type=int, default=16, help="models that play the target (default: 16)")
    parser.add_argument("--attack", action="append", dest="attacks", help="only this attack; repeatable")
    parser.add_argument("--pretraining-labels", default="pretraining_labels.npy", metavar="FILE", help="in each folder")
    arguments = parser.parse_args()
    try:
        answers = [read(folder, folder / arguments.pretraining_labels) for folder in arguments.folders]
        columns = [measure(each, arguments.targets, arguments.attacks) for each in answers]
    except (TmiError, OSError) as error:
        sys.exit(str(error))
    print(table([folder.name for folder in arguments.folders], columns))


def measure(answers: AttackInput, targets: int, names: list[str] | None) -> dict[str, Row]:
    """Score and judge the attacks of these names, or all that there are arrays for."""
    # What several attacks share is computed before any of them is timed, as is torch imported.
    attack_named("gaussian").score(answers, [0])
    attack_named("tmi-mlp").score(answers.at(slice(1)), [0])
    if names is None:
        arrays = {Needs.PRETRAINED_MODEL: answers.pretrained, Needs.PRETRAINING_LABELS: answers.pretraining_labels}
        has = [Needs.SHADOW_MODELS, *(need for need, array in arrays.items() if array is not None)]
        names = [name for name, attack in all_attacks().items() if not lacking(attack, has)]
    return {name: row(name, answers, min(targets, len(answers.membership))) for name in names}


def row(name: str, answers: AttackInput, targets: int) -> Row:
    """Score and judge one attack."""
    attack = attack_named(name)
    started = time.process_time()
    scores = attack.score(answers, range(targets))
    seconds = time.process_time() - started
    print(f"{name}: {seconds:.1f} s", file=sys.stderr)
    return Row(judge(scores, answers.membership[:targets], [FALSE_POSITIVE_RATE]), 1e6 * seconds / scores.size)


def read(folder: Path, labels: Path) -> AttackInput:
    """The arrays of a folder.

    Raises:
        OSError: one of the two that must be there is not.
        TmiError: they do not fit together.
    """
    pretrained = folder / "pretrained_predictions.npy"
    membership = np.load(folder / "membership.npy")
    return AttackInput(
        Predictions(list(np.load(folder / "predictions.npy", mmap_mode="r"))),
        membership,
        pretrained=Predictions(list(np.load(pretrained, mmap_mode="r"))) if pretrained.exists() else None,
        pretraining_labels=as_pretraining_labels(np.load(labels), membership.shape[1], str(labels))
        if labels.exists()
        else None,
    )


def table(folders: list[str], columns: list[dict[str, Row]]) -> str:
    """The attacks of all folders, strongest in the first one first, as Markdown."""
    names = sorted(columns[0], key=lambda name: -columns[0][name].judgement.auc.estimate)
    titles = [f"{folder}: {title}" for folder in folders for title in ("AUC [95%]", "TPR@1%FPR", "µs per score")]
    lines = [["attack", *titles], ["---"] * (1 + len(titles))]
    for name in names:
        cells = [cell for column in columns for cell in (column[name].cells() if name in column else ["–"] * 3)]
        lines.append([f"`{name}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
