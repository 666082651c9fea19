"""How every figure of a run gets its interval."""

from __future__ import annotations

from typing import Any

from tmi.run import Run


def resampling(run: Run, threads: int = 1) -> dict[str, Any]:
    """The arguments ``resamples``, ``confidence``, ``seed`` and ``threads`` of `tmi.metrics.judge` and its like."""
    evaluation = run.config.evaluation
    return {
        "resamples": evaluation.resamples,
        "confidence": evaluation.confidence,
        "seed": run.config.seed,
        "threads": threads,
    }
