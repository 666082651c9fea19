"""Which keys of the configuration matter to what."""

from __future__ import annotations

# Keys that only say how fast, or how something is called. As in `tmi.config.differences`, whose lines begin with a key:
# a space ends a key, a dot a table.
_TO_NOTHING = (
    "name ",
    "description ",
    "code ",
    "grown_from ",
    "pool.id ",
    "files.ids ",
    "compute.workers ",
    "compute.memory ",
    "compute.checkpoint_minutes ",
    "compute.cluster ",
    "compute.job_gpus ",
    "compute.job_memory ",
    "compute.shared_files ",
    "variants.",
)
# Which models are trained and what they answer does not depend on these: they may change in a run directory.
TO_NO_MODEL = (*_TO_NOTHING, "attack.", "evaluation.", "target.", "files.target ", "files.companions ")
# The scores of the main adversary do not depend on these.
TO_NO_SCORE = (
    *_TO_NOTHING,
    "attack.names ",
    "attack.together ",
    "evaluation.false_positive_rates ",
    "evaluation.resamples ",
    "evaluation.confidence ",
)
