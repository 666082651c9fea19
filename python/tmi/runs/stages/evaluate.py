"""Stage 6, its numbers: every figure of the report."""

from __future__ import annotations

import numpy as np

from tmi.report.results import Results
from tmi.runs.adversaries import main_adversary
from tmi.runs.evaluate import results_of, vulnerability
from tmi.runs.stages.adversaries import adversary_results
from tmi.runs.subject import Case, Description
from tmi.system.executor import Executor
from tmi.system.files import write_text


def run_stage(case: Case, executor: Executor, description: Description) -> Results:
    """Judge all scores, and write ``points.csv``: the attack of the verdict at every single point.

    Args:
        case: the scores of all its attacks are current.
        executor: for its progress display and its number of threads.
        description: what the results say besides figures.

    Returns:
        Everything that a report shows, for a run without what it says about variants.
    """
    config, directory = case.config, case.directory
    membership = np.asarray(directory.load_array(directory.membership))
    files = {name: directory.scores(name, main_adversary(config).folder) for name in config.attack.names}
    targets = {name: directory.target_scores(name) for name in case.target_attacks}
    executor.progress.begin(case.label("evaluate"), len(case.score_files))
    scores = {name: np.asarray(directory.load_array(path)) for name, path in files.items()}
    results = results_of(
        config,
        description,
        membership,
        scores,
        {name: np.asarray(directory.load_array(path))[0] for name, path in targets.items()},
        {name: directory.facts(path).get("seconds", 0.0) for name, path in files.items()},
        executor.threads,
        executor.progress.advance,
    )
    views, shadows = adversary_results(case, membership[: config.targets], results.attacks, executor)
    name = results.headline
    vulnerable = vulnerability(name, scores[name], membership, config.evaluation.confidence)
    write_text(directory.points, vulnerable.to_csv(description.points, description.labels))
    executor.progress.end()
    return results.model_copy(update={"views": views, "shadows": shadows})
