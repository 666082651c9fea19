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
    assert re.search(r"0/4 models, [\d,]+ samples/s, \d+ (s|min) left$", first)
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


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_left_is_seen_on_narrow_terminals_too(output: io.StringIO, width: int) -> None:
    console = Console(file=output, force_terminal=True, width=width, legacy_windows=False, color_system=None)
    progress = Bars(console)
    for label, samples in (("pretrain", 5_000_000), ("attack label-probe-shadows, top-3, 2 finetunings", 0)):
        progress.begin(label, 128, samples)
        for _ in range(4):
            progress.trained(1_000_000)
            progress.advance(20)
        progress.end()
    shown = [
        line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())) if "━" in line
    ]
    assert shown
    assert all(len(line.rstrip()) <= width and line.rstrip().endswith("left") for line in shown)
    assert any("2 finetunings" in line and re.search(r"\d+/128 ", line) for line in shown)


def test_a_log_file_gets_whole_lines_and_no_carriage_returns(output: io.StringIO) -> None:
    progress = Bars(Console(file=output, width=80), seconds_between_lines=0.0)
    progress.begin("attack label-probe-shadows, top-3, 8 shadows, 2 finetunings, of a variant", 4)
    progress.advance(1)
    progress.note("what is said of it " * 10)
    progress.advance(3)
    progress.end()
    assert len(lines(output.getvalue())) == 3
    assert not {"\r", "\x1b"} & {*output.getvalue()}


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
