from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from tmi.system.bars import Bars
from tmi.system.executor import Job, executor_here
from tmi.system.progress import Silent
from tmi.system.worker import samples_trained


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


def bars(output: io.StringIO, between: float, terminal: bool = False) -> Bars:
    console = Console(file=output, force_terminal=terminal, width=120, legacy_windows=False)
    return Bars(console, seconds_between_lines=between)


def test_one_line_for_short_work(output: io.StringIO) -> None:
    progress = bars(output, between=60)
    progress.begin("query", 4)
    progress.advance(4)
    progress.end()
    assert re.fullmatch(r"query +\d+\.\d s\n", output.getvalue())


def test_long_training_says_models_speed_and_time_left(output: io.StringIO) -> None:
    progress = bars(output, between=0.0)
    progress.begin("pretrain", 4, samples=4000)
    time.sleep(0.01)
    progress.trained(1000)
    progress.advance(1)
    progress.end()
    first, second = lines(output.getvalue())
    assert re.search(r"0/4 models, [\d,]+ samples/s, \d+ min left$", first)
    assert re.search(r"1/4 models", second)


def test_work_that_failed_has_no_last_line(output: io.StringIO) -> None:
    progress = bars(output, between=60)
    progress.begin("pretrain", 2, samples=10)
    progress.trained(5)
    progress.end()
    assert output.getvalue() == ""


def test_a_terminal_gets_a_bar(output: io.StringIO) -> None:
    progress = bars(output, between=60, terminal=True)
    progress.begin("pretrain", 2, samples=10)
    progress.trained(5)
    progress.advance(1)
    progress.end()
    assert "samples/s" in output.getvalue()


class Counting(Silent):
    def __init__(self) -> None:
        self.samples = 0

    def trained(self, samples: int) -> None:
        self.samples += samples


def job(_: object, number: int) -> int:
    for _ in range(number):
        samples_trained(10)
    # Long enough for the main process to look at the counts once.
    time.sleep(0.3)
    return number


class Nothing:
    def moved(self, _: object) -> Nothing:
        return self


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_reach_the_progress_from_any_process(workers: int) -> None:
    progress = Counting()
    with executor_here(progress, workers) as executor:
        jobs = [Job((number,)) for number in (3, 4, 5)]
        assert executor.map("train", "train", job, Nothing(), jobs, samples=120) == [3, 4, 5]
    assert progress.samples == 120


def test_outside_of_a_job_a_report_goes_nowhere() -> None:
    samples_trained(5)
