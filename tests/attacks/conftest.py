"""Fixtures of this folder."""

from __future__ import annotations

import pytest

from made.labelled import made_up, unlabelled
from tmi.predictions.attack_input import AttackInput


@pytest.fixture(params=[True, False], ids=["labels", "own class"])
def answers(request: pytest.FixtureRequest) -> AttackInput:
    return made_up() if request.param else unlabelled(made_up())
