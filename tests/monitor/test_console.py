from __future__ import annotations

import io
import logging
import math
import re
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.live import draw
from agentscope_tuner.monitor.phases import Phase, Phases
from agentscope_tuner.monitor.progress import Progress
from agentscope_tuner.monitor.summary import RunSummary
from agentscope_tuner.monitor.text import duration, sparkline

STEP = {
    "reward/mean": 0.25,
    "rollout/failed": 0.0,
    "throughput/sampled_tokens_per_s": 1234.4,
    "time/step": 12.34,
}


def plain() -> tuple[ConsoleMonitor, io.StringIO]:
    output = io.StringIO()
    return ConsoleMonitor(Console(file=output, width=60)), output


def terminal() -> tuple[ConsoleMonitor, io.StringIO]:
    output = io.StringIO()
    return ConsoleMonitor(Console(file=output, width=100, force_terminal=True)), output


def drawn(progress: Progress, phase: Phase | None = None, now: float = 0.0) -> str:
    console = Console(file=io.StringIO(), width=90, record=True)
    console.print(draw(progress, phase, now))
    return console.export_text()


def test_without_a_terminal_a_run_is_one_line_a_step() -> None:
    console, output = plain()
    console.start(16, Path("/runs/a[b]"))
    with console.phases.begun("evaluating test", 64) as phase:
        console.advanced(phase)
    console.log({"eval/test/reward/mean": 0.2, "eval/test/rollout/failed": 0.0}, 0)
    console.log(STEP, 1)
    console.log({**STEP, "reward/mean": 0.375, "rollout/failed": 3.0}, 2)
    console.note("Saved global_step_2")
    lines = output.getvalue().splitlines()
    assert lines[:3] == [
        "Tuning for 16 steps; run directory: /runs/a[b]",
        "step  0/16  test: reward 0.200",
        "step  1/16  reward 0.250  failed 0  1,234 tok/s  12.3 s/step  left 3m05s",
    ]
    assert lines[3].startswith("step  2/16  reward 0.375 (+0.125)  failed 3  1,234 tok/s")
    assert lines[4:] == ["Saved global_step_2"]


def test_a_step_without_any_reward_is_shown_as_such() -> None:
    console, output = plain()
    console.start(2, Path("run"))
    console.log({"rollout/failed": 8.0}, 1)
    console.log(STEP, 2)
    lines = output.getvalue().splitlines()
    assert lines[1] == "step 1/2  reward nan  failed 8"
    assert lines[2].startswith("step 2/2  reward 0.250")


def test_training_on_demonstrations_shows_the_loss() -> None:
    console, output = plain()
    console.start(9, Path("run"))
    console.log({"policy/loss": 2.5}, 1)
    console.log({"policy/loss": 2.0}, 2)
    assert "step 2/9  loss 2.000 (-0.500)" in output.getvalue()
    summary = RunSummary.of([{"policy/loss": 2.5}, {"policy/loss": 2.0}], {})
    assert summary.changes == {"training: loss": (2.5, 2.0)}


def test_training_is_compared_over_a_quarter_of_the_steps_since_each_has_its_own_tasks() -> None:
    rewards = [0.0, 0.2, 0.9, 0.5, 0.4, float("nan"), 0.5, 0.7, 0.3]
    summary = RunSummary.of([{"reward/mean": reward} for reward in rewards], {})
    assert summary.changes == {"training: reward, 2 steps": (0.1, 0.5)}


def test_a_long_phase_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    console, output = plain()
    console.start(2, Path("run"))
    with console.phases.begun("rollouts", 64) as phase:
        console.advanced(phase)
        monkeypatch.setattr("agentscope_tuner.monitor.console._SILENCE_S", -1.0)
        phase.done = 2
        console.advanced(phase)
    assert output.getvalue().splitlines()[1:] == ["step 0/2  rollouts 2/64 (0s)"]


def test_a_resumed_run_goes_on_counting() -> None:
    console, output = plain()
    console.start(16, Path("run"), resumed_step=8)
    assert "16 steps, resumed after step 8" in output.getvalue()


def test_the_end_compares_before_with_after_and_names_what_was_written() -> None:
    console, output = plain()
    records = [
        {"step": 0, "eval/test/reward/mean": 0.2, "eval/once/reward/mean": 0.2},
        {"step": 1, "reward/mean": math.nan},
        {"step": 2, "reward/mean": 0.25},
        {"step": 3, "reward/mean": 0.75},
        {"step": 3, "eval/test/reward/mean": 0.625},
    ]
    long_path = Path("/runs") / ("x" * 80) / "reward_curve.png"
    console.finish(RunSummary.of(records, {"run": Path("/runs"), "reward curve": long_path}))
    rows = [re.findall(r"[^\s│┃]+", line) for line in output.getvalue().splitlines()]
    assert ["test:", "reward", "0.200", "0.625", "+0.425"] in rows
    assert ["training:", "reward", "0.250", "0.750", "+0.500"] in rows
    assert not any("once" in row for row in rows)
    assert output.getvalue().splitlines()[-2:] == [
        "run           /runs",
        f"reward curve  {long_path}",
    ]


def test_the_live_display_shows_the_run_at_a_glance() -> None:
    progress = Progress(total_steps=4).after_step(1, {**STEP, "rollout/failed": 2.0}, now=10.0)
    progress = progress.after_step(2, {**STEP, "reward/mean": 0.5}, now=20.0)
    shown = drawn(progress, Phase("rollouts", 64, began=time.time() - 5), now=25.0)
    assert re.search(r"step +━.* 2/4 +17s left", shown)  # (12.34 + 10) / 2 a step, 5 s gone
    assert re.search(r"rollouts .* 0/64 +5s", shown)
    assert "reward 0.500 ↑ +0.250  ▁█  failed 2  1,234 tok/s" in shown


def test_the_live_display_can_be_drawn_before_anything_is_known() -> None:
    assert "0/4" in drawn(Progress(total_steps=4))
    assert "saving" in drawn(Progress(total_steps=4), Phase("saving"))


def test_what_the_learner_does_is_shown_before_rollouts_that_are_made_meanwhile() -> None:
    phases = Phases()
    assert phases.now is None
    with phases.begun("rollouts", 4) as rollouts:
        assert phases.now is rollouts
        with phases.begun("learning") as learning:
            with phases.begun("more rollouts", 4):
                assert phases.now is learning
            assert phases.now is learning
        assert phases.now is rollouts
    assert phases.now is rollouts  # nothing else has begun


def test_a_dumb_terminal_gets_lines_and_no_movement_of_the_cursor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console, output = terminal()
    console.start(4, Path("run"))
    console.log(STEP, 1)
    console.stop()
    assert "step 1/4  reward 0.250" in output.getvalue()
    assert "\x1b[?25l" not in output.getvalue()  # the cursor is not hidden


def test_prints_and_logs_appear_above_the_live_display() -> None:
    console, output = terminal()
    logger = logging.getLogger("test_console")
    before = (sys.stdout, sys.stderr)
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    console.start(4, Path("run"))
    try:
        print("printed by a workflow")
        logger.warning("logged by a library")
        assert handler.stream is not before[1]
    finally:
        console.stop()
        logger.removeHandler(handler)
    assert (sys.stdout, sys.stderr) == before
    assert handler.stream is before[1]
    assert "printed by a workflow\n" in output.getvalue()
    assert "logged by a library\n" in output.getvalue()


def test_the_live_display_survives_being_updated_while_it_is_drawn() -> None:
    console, _ = terminal()
    console.start(100, Path("run"))
    stop = threading.Event()

    def redraw() -> None:
        while not stop.is_set():
            draw(console._progress, console.phases.now, 0.0)

    drawer = threading.Thread(target=redraw)
    drawer.start()
    for step in range(1, 101):
        with console.phases.begun("rollouts", 4) as phase:
            for _ in range(4):
                phase.done += 1
                console.advanced(phase)
        console.log({**STEP, "reward/mean": step / 100}, step)
    stop.set()
    drawer.join()
    console.stop()
    console.stop()
    assert console._progress.step == 100


def test_durations_and_sparklines_are_short() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 160, 11_100)] == [
        "0s", "1m00s", "2m40s", "3h05m",
    ]  # fmt: skip
    assert sparkline([0, 0.5, 1]) == "▁▅█"
    assert sparkline([0.5, 0.5]) == "▁▁"
    assert sparkline([]) == ""
