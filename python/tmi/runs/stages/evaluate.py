"""Stage 6, its numbers: every figure of the report."""

from __future__ import annotations

from tmi.attacks.checks import Finding
from tmi.report.results import Results
from tmi.runs.adversaries import all_adversaries, attacks_by, main_adversary
from tmi.runs.evaluate import notes_of, results_of
from tmi.runs.stages.adversaries import adversary_results
from tmi.runs.subject import Description, Subject
from tmi.system.executor import Executor

# How often a target like the shadows scores so low.
TOO_FEW = 1e-3


def run_stage(subject: Subject, executor: Executor, description: Description) -> Results:
    """Judge all scores.

    Args:
        subject: the scores of all its attacks are current.
        executor: for its progress display and its number of threads.
        description: what the results say besides figures.

    Returns:
        Everything that a report shows, for a run without what it says about variants.
    """
    config, membership, main = subject.config, subject.membership, main_adversary(subject.config)
    names, of_target = config.attack.names, subject.target_attacks
    judged = sum(len(attacks_by(config, adversary)) for adversary in all_adversaries(config))
    executor.progress.begin(subject.label("evaluate"), judged + len(of_target))
    results = results_of(
        config,
        description,
        membership,
        {name: subject.scores(name, main) for name in names},
        {name: subject.target_scores(name) for name in of_target},
        {name: subject.scores(name, subject.target_adversary(name)) for name in of_target},
        {name: subject.seconds(name) for name in names},
        executor.threads,
        executor.progress.advance,
    )
    further = adversary_results(subject, membership[: config.targets], results.attacks, results.headline, executor)
    executor.progress.end()
    notes = notes_of([*subject.findings, *_about_set_test(results)])
    if results.target is not None and subject.target_finetunings > 1:
        further["target"] = results.target.model_copy(update={"finetunings": subject.target_finetunings})
    return results.model_copy(update=further | {"notes": notes})


def _about_set_test(results: Results) -> list[Finding]:
    """A target that looks less like a member everywhere than models without the points is no model like them."""
    target = results.target
    test = None if target is None else target.attacks[target.attack].set_test
    if test is None or test.p_value <= 1 - TOO_FEW:
        return []
    message = (
        f"it scores lower than models that have none of the points (p = {test.p_value:.4f}): it was hardly made like "
        "the shadow models, and p-values of its points mean little"
    )
    return [Finding("warning", "target", message)]
