"""`agentscope_tuner.Run`: a run directory as an object."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sick_runs import RunOf, fail

from agentscope_tuner import InputError, Run
from agentscope_tuner.trajectory import Rollout


def polite(step: int, rollout: Rollout) -> None:
    rollout.metrics = {"judge/polite": 0.25}
    rollout.explanation = "It says please."


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(RunOf(change=polite).write(tmp_path / "P" / "one"))


def test_it_says_what_and_how_far_it_is(run: Run) -> None:
    assert (run.name, run.status, run.config) == ("P/one", "finished", {"name": "one"})
    assert repr(run) == f"Run({str(run.directory)!r})"


def test_metrics_are_a_row_a_step(run: Run) -> None:
    frame = run.metrics()
    assert [*frame.index] == [*range(1, 9)]
    assert frame["reward/mean"][8] == pytest.approx(0.625)
    assert frame["policy/lr"].unique() == [1e-5]


def test_evaluations_are_a_row_a_set_and_step_by_the_names_of_training(run: Run) -> None:
    lines = (
        '{"step": 0, "eval/a/b/reward/mean": 0.5, "eval/a/b/pass@2": 0.75}\n'
        '{"step": 4, "eval/a/b/reward/mean": 0.6, "eval/c/rollout/failed/judge": 1.0}\n'
    )
    with (run.directory / "metrics.jsonl").open("a") as file:
        file.write(lines)
    frame = run.evaluations()
    assert frame.loc[("a/b", 4), "reward/mean"] == 0.6
    assert frame.loc[("a/b", 0), "pass@2"] == 0.75
    assert frame.loc[("c", 4), "rollout/failed/judge"] == 1.0
    assert len(run.metrics()) == 8


def test_rollouts_are_a_row_each_and_of_one_step_with_what_was_said(run: Run) -> None:
    everything = run.rollouts()
    assert len(everything) == 8 * 6 * 4
    assert "offset" not in everything
    some = run.rollouts(step=3)
    assert set(some["step"]) == {3}
    assert set(some["judge/polite"]) == {0.25}
    assert set(some["explanation"]) == {"It says please."}
    assert all(len(text.split()) == 14 for text in some["response"])
    assert len(run.rollouts(step=8, set="test")) == 40
    assert len(run.rollouts(step=99)) == 0


def test_one_rollout_has_its_tokens(run: Run) -> None:
    rollout = run.rollout("step2-1-3")
    assert rollout.trajectory.sampled_tokens >= 20
    with pytest.raises(InputError, match="no rollout 'step2-1-9'"):
        run.rollout("step2-1-9")


def test_it_is_diagnosed(tmp_path: Path) -> None:
    run = Run(replace(RunOf(), change=fail("judge")).write(tmp_path / "P" / "sick"))
    assert [finding.rule for finding in run.diagnose()] == ["failures-judge"]


def test_a_notebook_shows_it_and_nothing_in_it_is_html(tmp_path: Path) -> None:
    made = replace(RunOf(), change=fail("judge"), answer=lambda random, rollout: "<b>x</b>")
    run = Run(made.write(tmp_path / "P" / "<i>sick"))
    shown = run._repr_html_()
    assert "P/&lt;i&gt;sick" in shown
    assert "48 of 192 rollouts failed" in shown
    assert "<i>" not in shown
    assert "\x1b" not in shown
    assert "reward/mean 0." in shown
    rewards = run.metrics()["reward/mean"]
    assert f"(lowest {rewards.min():.3f}, highest {rewards.max():.3f})" in shown
    assert shown.count("<svg") == 1


def test_a_run_without_a_step_is_shown_too(tmp_path: Path) -> None:
    run = Run(replace(RunOf(), steps=0, held_out={}).write(tmp_path / "P" / "new"))
    assert len(run.metrics()) == len(run.evaluations()) == len(run.rollouts()) == 0
    assert "step 0/0" in run._repr_html_()


def test_where_no_run_is_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There are no runs"):
        Run(tmp_path)


def test_reading_a_run_imports_nothing_that_computes_or_serves(run: Run) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from agentscope_tuner import Run\n"
        "from agentscope_tuner.viewer.library import Library\n"
        f"run = Run({str(run.directory)!r})\n"
        "run.metrics(), run.rollouts(3), run.diagnose(), Library(Path(run.directory))\n"
        "print([name for name in 'torch transformers agentscope openai datasets'.split()"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
