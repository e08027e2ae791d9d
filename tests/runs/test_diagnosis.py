"""The doctor: each rule is tripped by a run made for it, alone, and a healthy run trips none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sick_runs import WORDS, RunOf, fail, varied

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.diagnosis.finding import Finding
from agentscope_tuner.runs.diagnosis.rules import Doctor, diagnose
from agentscope_tuner.runs.files import RunFiles
from agentscope_tuner.trajectory import Rollout

ROOT = Path(__file__).parents[2]


def found_in(made: RunOf, tmp_path: Path, *, over: bool = True) -> list[Finding]:
    return diagnose(RunFiles(made.write(tmp_path / "run")), over=over)


def cut_off(step: int, rollout: Rollout) -> None:
    if rollout.id.endswith(("-2", "-3")):
        rollout.trajectory.calls[0].finish_reason = "length"


def unrewarded(step: int, rollout: Rollout) -> None:
    rollout.reward = None


def one_is_slow(step: int, rollout: Rollout) -> None:
    if rollout.id.endswith("-0-0"):
        rollout.seconds = 60.0


def judged_slowly(step: int, rollout: Rollout) -> None:
    rollout.judge_seconds = 1.5


def paid_by_length(step: int, rollout: Rollout) -> None:
    if step > 4:
        segment = rollout.trajectory.segments[1]
        count = 60 + 100 * round(rollout.reward or 0)
        segment.token_ids = [5] * count
        assert segment.sampled is not None
        segment.sampled.logprobs, segment.sampled.forced = [-0.5] * count, [False] * count


def paid_by_politeness(step: int, rollout: Rollout) -> None:
    polite = (rollout.reward or 0.0) if step > 4 else Random(rollout.id).random()
    rollout.metrics = {"judge/polite": polite, "judge/short": Random(rollout.id + "s").random()}


def copied(random: Random, rollout: Rollout) -> str:
    late = rollout.id.startswith(("step6", "step7", "step8"))
    return varied(Random(rollout.id[:-2]) if late else random, rollout)


def paid_for_flattery(step: int, rollout: Rollout) -> None:
    if step > 5 and rollout.reward:
        rollout.response += " what a truly great question this is"


def said_alike(step: int, rollout: Rollout) -> None:
    """As a task is learnt: right answers and wrong ones come to have one form."""
    if step > 5:
        rollout.response = f"the final answer to it is {Random(rollout.id).choice(WORDS)}"


def a_little_better(step: int, task: int, sample: int) -> float:
    return 0.5 * (sample % 2) + 0.01 * step


def as_at_the_beginning(step: int, task: int, sample: int) -> float:
    return float(sample % 2)


SICK: dict[str, tuple[str, RunOf]] = {
    "constant-reward": ("high", RunOf(reward=lambda step, task, sample: 1.0)),
    "uniform-groups": ("high", RunOf(reward=lambda step, task, sample: float(task % 5 == step))),
    "failures-judge": ("high", RunOf(change=fail("judge"))),
    "truncated": ("medium", RunOf(change=cut_off)),
    "straggler": ("low", RunOf(change=one_is_slow)),
    "slow-judge": ("low", RunOf(change=judged_slowly)),
    "held-out-flat": ("medium", RunOf(held_out={0: 0.3, 8: 0.3})),
    "within-the-error": (
        "low",
        RunOf(reward=as_at_the_beginning, held_out={0: 0.3, 8: 0.35}),
    ),
    "sampler-learner-gap": (
        "medium",
        RunOf(metrics=lambda step: {"policy/kl_sampler_learner": 0.05}),
    ),
    "entropy-collapse": (
        "medium",
        RunOf(
            reward=as_at_the_beginning,
            metrics=lambda step: {"policy/entropy": 1.0 if step < 4 else 0.01},
        ),
    ),
    "gradient-spike": (
        "low",
        RunOf(metrics=lambda step: {"policy/grad_norm": 40.0 if step == 6 else 1.0}),
    ),
    "still-weights": (
        "medium",
        RunOf(reward=as_at_the_beginning, metrics=lambda step: {"policy/lr": 1e-7}),
    ),
    "reward-follows-length": ("medium", RunOf(change=paid_by_length)),
    "reward-follows-metric": ("medium", RunOf(change=paid_by_politeness)),
    "near-copies": ("medium", RunOf(answer=copied)),
    "paying-phrase": ("medium", RunOf(change=paid_for_flattery)),
}


def test_a_healthy_run_trips_no_rule(tmp_path: Path) -> None:
    assert found_in(RunOf(), tmp_path) == []


def test_a_model_that_has_learnt_its_task_may_be_sure_of_itself(tmp_path: Path) -> None:
    def learnt(step: int, task: int, sample: int) -> float:
        return float(sample < (1 if step < 4 else 3))

    sure = SICK["entropy-collapse"][1].metrics
    assert found_in(RunOf(reward=learnt, metrics=sure), tmp_path) == []


def test_a_model_that_imitates_what_is_written_may_be_sure_of_itself(tmp_path: Path) -> None:
    sure = SICK["entropy-collapse"][1].metrics
    found = found_in(RunOf(change=unrewarded, metrics=sure), tmp_path)
    assert "entropy-collapse" not in {finding.rule for finding in found}


@pytest.mark.parametrize("right", [2, 3, 4])
def test_a_form_that_all_answers_have_come_to_is_no_phrase_that_pays(
    right: int, tmp_path: Path
) -> None:
    def learning(step: int, task: int, sample: int) -> float:
        return float(sample < (right if step > 3 and task else 1))

    assert found_in(RunOf(reward=learning, change=said_alike), tmp_path) == []


@pytest.mark.parametrize("rule", SICK)
def test_each_rule_is_tripped_by_a_run_made_for_it_and_no_other_is(
    rule: str, tmp_path: Path
) -> None:
    severity, made = SICK[rule]
    [finding] = found_in(made, tmp_path)
    assert (finding.rule, finding.severity) == (rule, severity)
    assert finding.what.endswith((".", "bad \x1b[2J"))
    assert finding.do.endswith(".")
    assert any(character.isdigit() for character in finding.evidence)
    assert (
        f"`{rule.replace('failures-judge', 'failures-<kind>')}`"
        in (ROOT / "docs" / "diagnosis.md").read_text()
    )


def test_a_judge_that_never_varies_is_shown_by_two_answers_with_their_reward(
    tmp_path: Path,
) -> None:
    [finding] = found_in(SICK["constant-reward"][1], tmp_path)
    assert len(finding.rollouts) == 2
    assert all(seen.says.startswith("reward 1 for '") for seen in finding.rollouts)
    assert {seen.step for seen in finding.rollouts} == {8}


@pytest.mark.parametrize(
    ("solved", "why"), [(0, "too hard"), (1, "too easy")], ids=["hard", "easy"]
)
def test_uniform_groups_are_told_apart_by_their_reward(
    solved: int, why: str, tmp_path: Path
) -> None:
    made = RunOf(reward=lambda s, task, n: float(solved) if task or s > 1 else float(1 - solved))
    found = [f for f in found_in(made, tmp_path) if f.rule == "uniform-groups"]
    assert why in found[0].what


def test_a_failure_names_its_first_place_and_rollout(tmp_path: Path) -> None:
    [finding] = found_in(RunOf(change=fail("workflow")), tmp_path)
    assert "12 of 48" not in finding.what
    assert finding.what.startswith("48 of 192 rollouts failed (workflow): ValueError: bad")
    assert 'File "main.py", line 7, in judge' in finding.evidence
    assert finding.rollouts[0].id == "step1-0-3"


def test_how_many_tasks_could_tell_a_change_is_said(tmp_path: Path) -> None:
    [finding] = found_in(SICK["within-the-error"][1], tmp_path)
    # 2 of 40 tasks change by 1: mean 0.05, standard error 0.0349, so 40 (2 x 0.0349 / 0.05)^2.
    assert "40 tasks of test cannot tell" in finding.what
    assert ": 78 could" in finding.what


def test_what_is_only_known_at_the_end_is_not_said_before(tmp_path: Path) -> None:
    assert found_in(SICK["held-out-flat"][1], tmp_path, over=False) == []


def test_the_doctor_begins_at_the_third_step_and_says_each_thing_once(tmp_path: Path) -> None:
    run = replace(SICK["truncated"][1], steps=4).write(tmp_path / "run")
    doctor = Doctor(run)
    assert [doctor.is_due(step) for step in (1, 2, 3)] == [False, False, True]
    assert [finding.rule for finding in doctor.look(3)] == ["truncated"]
    assert doctor.is_due(4)
    assert doctor.look(4) == []


def test_looks_become_rarer_as_the_run_becomes_longer(tmp_path: Path) -> None:
    doctor = Doctor(replace(RunOf(), steps=1, held_out={}).write(tmp_path / "run"))
    looks = 0
    for step in range(1, 2001):
        if doctor.is_due(step):
            looks += 1
            doctor.look(step)
    assert looks < 90


def test_a_run_that_has_not_begun_has_nothing_wrong(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert diagnose(RunFiles(run)) == []
    one = replace(RunOf(), steps=1, held_out={}).write(tmp_path / "one")
    assert diagnose(RunFiles(one)) == []


def test_a_damaged_index_is_a_sentence(tmp_path: Path) -> None:
    run = RunOf(steps=3).write(tmp_path / "run")
    (run / "rollouts" / "index.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="is damaged near byte"):
        diagnose(RunFiles(run))


def test_short_answers_may_be_the_same(tmp_path: Path) -> None:
    made = RunOf(answer=lambda random, rollout: WORDS[0])
    assert found_in(made, tmp_path) == []


def test_a_finding_as_json_has_all_of_it(tmp_path: Path) -> None:
    [finding] = found_in(SICK["constant-reward"][1], tmp_path)
    plain = json.loads(json.dumps(finding.plain()))
    assert set(plain) == {"rule", "severity", "what", "evidence", "do", "rollouts"}
    assert plain["rollouts"][0]["step"] == 8


@pytest.mark.parametrize("steps", [2, 5])
def test_a_rise_in_fewer_steps_than_make_a_beginning_and_an_end_says_nothing_of_held_out_tasks(
    steps: int, tmp_path: Path
) -> None:
    def rises(step: int, task: int, sample: int) -> float:
        return float(sample < (1 if step < 2 else 3))

    made = RunOf(steps=steps, reward=rises, held_out={0: 0.3, steps: 0.3})
    assert [finding.rule for finding in found_in(made, tmp_path)] == ["within-the-error"]
    longer = replace(made, steps=6, held_out={0: 0.3, 6: 0.3}).write(tmp_path / "longer")
    assert [finding.rule for finding in diagnose(RunFiles(longer))] == ["held-out-flat"]


def test_training_is_compared_over_the_steps_between_the_evaluations(tmp_path: Path) -> None:
    def rises_late(step: int, task: int, sample: int) -> float:
        return float(sample < (1 if step < 7 else 3))

    stopped = RunOf(steps=9, reward=rises_late, held_out={0: 0.3, 6: 0.3})
    assert [finding.rule for finding in found_in(stopped, tmp_path)] == ["within-the-error"]


def test_held_out_tasks_that_may_have_gained_as_much_are_not_called_flat(tmp_path: Path) -> None:
    # Training gains some 0.05, the held-out tasks 0.05 ± 0.035.
    made = RunOf(reward=a_little_better, held_out={0: 0.3, 8: 0.35})
    rules = [finding.rule for finding in found_in(made, tmp_path)]
    assert "within-the-error" in rules
    assert "held-out-flat" not in rules
