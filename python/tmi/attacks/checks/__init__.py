"""What is wrong with predictions and membership, before they are attacked."""

from tmi.attacks.checks.checking import check_answers, check_arrays, check_input, check_target
from tmi.attacks.checks.finding import Finding, require_sound

__all__ = ["Finding", "check_answers", "check_arrays", "check_input", "check_target", "require_sound"]
