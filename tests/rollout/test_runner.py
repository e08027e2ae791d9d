"""Groups of rollouts: what workflows are given, what comes back, and how failures are kept."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.workflow import JudgeOutput, WorkflowOutput

TASK = {"question": "?", "tags": ["a"]}


async def answer(task: dict, model: Any) -> WorkflowOutput:
    response = await model("hi")
    return WorkflowOutput(reward=0.5, response=response.content[0]["text"], metrics={"ok": True})


async def run_one(service: Any, workflow: Any, judge: Any = None, **options: Any) -> Any:
    runner = RolloutRunner(service, workflow, judge, **options)
    (group,) = await runner.run_groups([TASK], 1, label="step1", seed=0)
    return group.rollouts[0]


async def test_every_task_becomes_one_group_of_rollouts_in_order(service):
    runner = RolloutRunner(service, answer)
    done = []
    groups = await runner.run_groups(
        [{"n": 0}, {"n": 1}], 3, label="step7", seed=0, on_done=done.append
    )
    assert [group.task for group in groups] == [{"n": 0}, {"n": 1}]
    assert [rollout.id for rollout in groups[1].rollouts] == ["step7-1-0", "step7-1-1", "step7-1-2"]
    assert all(rollout.reward == 0.5 for group in groups for rollout in group.rollouts)
    assert groups[0].rollouts[0].response == "hello"
    assert groups[0].rollouts[0].metrics == {"workflow/ok": 1.0}
    assert len(done) == 6
    assert all(session.closed for session in service.sessions)


async def test_sampling_overrides_and_a_seed_of_its_own_reach_each_session(service):
    runner = RolloutRunner(service, answer)
    given = Sampling(temperature=0.0, max_tokens=9)
    await runner.run_groups([TASK] * 2, 2, label="a", seed=3, sampling=given)
    first = [session.options for session in service.sessions]
    assert all(
        o["temperature"] == 0.0 and o["max_tokens"] == 9 and o["top_p"] is None for o in first
    )
    assert len({options["seed"] for options in first}) == 4

    service.sessions.clear()
    await runner.run_groups([TASK], 2, label="b", seed=3)
    assert [s.options["seed"] for s in service.sessions] == [o["seed"] for o in first[:2]]


async def test_each_rollout_has_a_model_and_a_copy_of_the_task_to_itself(service):
    seen = []

    async def greedy(task, model):
        task["tags"].append("b")
        seen.append((model, list(task["tags"])))
        await model("hi")
        return WorkflowOutput(reward=1.0)

    task = {"tags": ["a"]}
    (group,) = await RolloutRunner(service, greedy).run_groups([task], 3, label="s", seed=0)
    assert [tags for _, tags in seen] == [["a", "b"]] * 3
    assert len({id(model) for model, _ in seen}) == 3
    assert task == {"tags": ["a"]}
    assert group.rollouts[0].task == {"tags": ["a"]}


async def test_optional_arguments_go_only_to_functions_that_take_them(service):
    async def workflow(task, model, auxiliary_models, logger):
        assert list(auxiliary_models) == ["helper"]
        logger.info("working")
        await model("hi")
        return WorkflowOutput(response="r")

    async def judge(task, response):
        return JudgeOutput(reward=float(response == "r"))

    assert (await run_one(service, workflow, judge)).reward == 1.0


async def test_who_looks_on_sees_the_rollouts_that_are_under_way(service):
    seen = []

    async def workflow(task, model):
        await model("hi")
        seen.extend(runner.running.now())
        if len(seen) == 1:
            raise ValueError("once more")
        return WorkflowOutput(reward=1.0)

    runner = RolloutRunner(service, workflow, max_retries=1)
    assert runner.running.now() == []
    await runner.run_groups([TASK], 1, label="step1", seed=0)
    assert [(one.id, one.task, one.attempt) for one in seen] == [
        ("step1-0-0", TASK, 1),
        ("step1-0-0", TASK, 2),
    ]
    assert [one.calls for one in seen] == [1, 1]
    assert runner.running.now() == []


async def test_a_judge_has_the_last_word_on_the_reward(service):
    async def judge(task, response, logger):
        return JudgeOutput(reward=-2, metrics={"strict": 1})

    rollout = await run_one(service, answer, judge)
    assert rollout.reward == -2.0
    assert rollout.metrics == {"workflow/ok": 1.0, "judge/strict": 1.0}


async def test_outputs_of_another_class_serve_if_they_have_the_fields(service):
    async def workflow(task, model):
        await model("hi")
        return SimpleNamespace(reward=None, response="x", metrics=None)

    async def judge(task, response):
        return SimpleNamespace(reward=0.25, metrics={"m": 2})

    assert (await run_one(service, workflow, judge)).reward == 0.25


def returning(value: Any) -> Any:
    async def workflow(task, model):
        await model("hi")
        return value

    return workflow


def judging(value: Any) -> Any:
    async def judge(task, response):
        return value

    return judge


async def raising_value_error(task, model):
    await model("hi")
    raise ValueError("bad luck")


async def exiting(task, model):
    raise SystemExit(3)


async def silent(task, model):
    return WorkflowOutput(reward=1.0)


async def cancelling_itself(task, model):
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def judge_of_an_empty_reply(task, response):
    return JudgeOutput(reward=float("4" in response.get_text_content()))


def status_error(status: int) -> Any:
    async def workflow(task, model):
        request = httpx.Request("POST", "http://model/v1")
        raise openai.APIStatusError(
            "no", response=httpx.Response(status, request=request), body=None
        )

    return workflow


EMPTY_MESSAGE = SimpleNamespace(get_text_content=lambda: None)


@pytest.mark.parametrize(
    ("workflow", "judge", "kind", "message"),
    [
        (raising_value_error, None, "workflow", "ValueError: bad luck"),
        (exiting, None, "workflow", "SystemExit: 3"),
        (cancelling_itself, None, "workflow", "CancelledError"),
        (status_error(400), None, "workflow", "APIStatusError: no"),
        (status_error(500), None, "model", "APIStatusError: no"),
        (returning(None), None, "output", "returned a NoneType; it must return a WorkflowOutput"),
        (returning(0.5), None, "output", "returned a float; it must return a WorkflowOutput"),
        (returning(WorkflowOutput()), None, "output", "return a reward from the workflow or pass"),
        (returning(WorkflowOutput(reward=float("nan"))), None, "output", "not nan"),
        (returning(WorkflowOutput(reward=float("inf"))), None, "output", "not inf"),
        (silent, None, "empty", "never called the model"),
        (answer, judging(0.5), "output", "The judge function returned a float"),
        (answer, judging(None), "output", "it must return a JudgeOutput"),
        (answer, judging(JudgeOutput(reward=float("nan"))), "output", "The judge's reward"),
        (
            answer,
            judging(SimpleNamespace(reward="1.0", metrics=None)),
            "output",
            "must be a finite number, not '1.0' (str)",
        ),
        (answer, judging(SimpleNamespace(reward=1, metrics=[1])), "output", "not a list"),
        (
            returning(WorkflowOutput(response=EMPTY_MESSAGE)),
            judge_of_an_empty_reply,
            "judge",
            "TypeError: argument of type 'NoneType' is not",
        ),
    ],
)
async def test_each_failure_is_kept_in_its_group_under_its_kind(
    service, workflow, judge, kind, message
):
    rollout = await run_one(service, workflow, judge)
    assert rollout.reward is None
    assert rollout.error.kind == kind
    assert message in rollout.error.message


async def test_a_traceback_begins_in_the_users_code(service):
    rollout = await run_one(service, raising_value_error)
    lines = rollout.error.traceback.splitlines()
    assert lines[0].startswith("Traceback")
    assert "in raising_value_error" in lines[1]
    assert lines[-1] == "ValueError: bad luck"


async def test_the_first_failure_of_a_kind_is_logged_with_its_traceback(service, caplog):
    runner = RolloutRunner(service, raising_value_error)
    with caplog.at_level(logging.WARNING):
        await runner.run_groups([TASK], 3, label="step1", seed=0)
    (record,) = caplog.records
    assert "failed (workflow): ValueError: bad luck" in record.getMessage()
    assert "in raising_value_error" in record.getMessage()


async def test_what_a_failed_judge_was_shown_stays_to_be_looked_at(service):
    async def judge(task, response):
        raise KeyError("answer")

    rollout = await run_one(service, answer, judge)
    assert rollout.error.message == "KeyError: 'answer'"
    assert rollout.response == "hello"
    assert rollout.metrics == {"workflow/ok": 1.0}


async def test_metrics_that_are_no_numbers_are_missing_and_named_once(service, caplog):
    async def workflow(task, model):
        await model("hi")
        metrics = {"label": "high", "loss": float("nan"), "good": 2, "\ud800": 1, 3: 4}
        return WorkflowOutput(reward=1.0, metrics=metrics)

    runner = RolloutRunner(service, workflow)
    groups = await runner.run_groups([TASK], 3, label="s", seed=0)
    for rollout in groups[0].rollouts:
        assert rollout.reward == 1.0
        assert rollout.metrics == {"workflow/good": 2, "workflow/\\ud800": 1, "workflow/3": 4}
    told = sorted(record.getMessage() for record in caplog.records)
    assert told == [
        "The metric workflow/label is missing where it is no finite number, such as 'high' (str)",
        "The metric workflow/loss is missing where it is no finite number, such as nan (float)",
    ]


async def test_a_call_refused_for_lack_of_room_is_named_when_nothing_was_sampled(service):
    async def workflow(task, model):
        model.session.trajectory.overflows += 1
        return WorkflowOutput(reward=0.0)

    rollout = await run_one(service, workflow)
    assert rollout.error.kind == "empty"
    assert "max_model_len" in rollout.error.message


async def test_a_transient_failure_is_tried_again_from_nothing(service):
    attempts = []

    async def flaky(task, model):
        attempts.append(task)
        task["touched"] = True
        await model("hi")
        if len(attempts) < 3:
            raise ConnectionError("not yet")
        return WorkflowOutput(reward=1.0)

    rollout = await run_one(service, flaky, max_retries=3)
    assert rollout.reward == 1.0
    assert rollout.error is None
    assert rollout.attempts == 3
    assert len(rollout.trajectory.calls) == 1
    assert len({session.options["seed"] for session in service.sessions}) == 3
    assert [s.rollout_id for s in service.sessions][1:] == ["step1-0-0-try2", "step1-0-0-try3"]


@pytest.mark.parametrize(("workflow", "attempts"), [(raising_value_error, 3), (silent, 1)])
async def test_only_failures_that_may_pass_are_retried(service, workflow, attempts):
    assert (await run_one(service, workflow, max_retries=2)).attempts == attempts


async def test_no_more_rollouts_run_at_once_than_allowed(service):
    running = peak = 0

    async def workflow(task, model):
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await model("hi")
        await asyncio.sleep(0.01)
        running -= 1
        return WorkflowOutput(reward=0.0)

    await RolloutRunner(service, workflow, max_concurrent=4).run_groups(
        [TASK] * 4, 4, label="s", seed=0
    )
    assert peak == 4


async def test_a_fault_of_the_service_stops_everything_loudly(service):
    async def workflow(task, model):
        if task["n"] == 1:
            model.session.fault = AssertionError("the recorder lost a token")
            raise RuntimeError("what the user's code saw of it")
        await asyncio.sleep(30)

    with pytest.raises(AssertionError, match="lost a token"):
        await RolloutRunner(service, workflow).run_groups(
            [{"n": 0}, {"n": 1}], 2, label="s", seed=0
        )
    assert all(session.closed for session in service.sessions)


async def test_sixty_four_rollouts_with_random_failures_all_come_back_counted(service):
    rng = random.Random(0)
    plan = [rng.choice(["ok", "raise", "hang", "silent", "none"]) for _ in range(16)]

    async def workflow(task, model):
        await asyncio.sleep(rng.random() / 50)
        if task["do"] == "silent":
            return WorkflowOutput(reward=1.0)
        await model("hi")
        if task["do"] == "raise":
            raise RuntimeError
        if task["do"] == "hang":
            await asyncio.sleep(60)
        return WorkflowOutput(reward=1.0) if task["do"] == "ok" else None

    runner = RolloutRunner(service, workflow, timeout_s=1.0)
    groups = await runner.run_groups([{"do": do} for do in plan], 4, label="s", seed=0)
    planned = Counter(plan)
    metrics = summarize(groups)
    assert metrics["rollout/count"] == 64
    assert metrics["rollout/failed/workflow"] == 4 * planned["raise"]
    assert metrics["rollout/failed/timeout"] == 4 * planned["hang"]
    assert metrics["rollout/failed/empty"] == 4 * planned["silent"]
    assert metrics["rollout/failed/output"] == 4 * planned["none"]
    assert metrics["rollout/failed"] == 64 - 4 * planned["ok"]
    assert metrics["reward/mean"] == 1.0


async def twice(task: dict, model: Any) -> WorkflowOutput:
    await model("hi")
    await model("hi")
    return WorkflowOutput(reward=1.0, step_rewards=[0.25, 0.75], state_keys=["a", "b"])


async def test_rewards_and_states_of_single_calls_are_kept(service):
    rollout = await run_one(service, twice)
    assert (rollout.reward, rollout.call_rewards, rollout.state_keys) == (
        1.0,
        [0.25, 0.75],
        ["a", "b"],
    )


async def test_the_judges_rewards_of_single_calls_take_the_workflows_place(service):
    async def judge(task: dict, response: str) -> JudgeOutput:
        return JudgeOutput(reward=2.0, step_rewards=[2.0, 0.0])

    rollout = await run_one(service, twice, judge)
    assert rollout.call_rewards == [2.0, 0.0]
    assert rollout.state_keys == ["a", "b"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("step_rewards", [1.0, 2.0], "step_rewards are 2, but the model was called 1 times"),
        ("state_keys", [], "state_keys are 0, but the model was called 1 times"),
        ("step_rewards", "1", "step_rewards must be a list"),
        ("step_rewards", [float("nan")], "must be a finite number"),
    ],
)
async def test_rewards_of_single_calls_that_do_not_fit_fail_the_rollout(
    service, field, value, message
):
    async def workflow(task: dict, model: Any) -> WorkflowOutput:
        await model("hi")
        return WorkflowOutput(reward=1.0, **{field: value})

    rollout = await run_one(service, workflow)
    assert rollout.error.kind == "output"
    assert message in rollout.error.message
