"""What a rollout keeps besides its tokens, for those who look at it later."""

from __future__ import annotations

import asyncio
import logging
import time

from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.trajectory import Rollout
from agentscope_tuner.workflow import JudgeOutput, WorkflowOutput


async def answer(task, model, logger):
    logger.info("asked for %s", task["n"])
    await model("hi")
    return WorkflowOutput(response="r")


async def run(service, workflow, judge=None, **options) -> list[Rollout]:
    runner = RolloutRunner(service, workflow, judge, **options)
    groups = await runner.run_groups([{"n": 1}, {"n": 2}], 1, label="s", seed=0)
    return [rollout for group in groups for rollout in group.rollouts]


async def test_lines_of_the_logger_stay_with_their_rollout_and_quiet_ones_go_nowhere_else(
    service, caplog
):
    async def judge(task, response, logger):
        logger.warning("strange %d", task["n"])
        return JudgeOutput(reward=1.0)

    with caplog.at_level(logging.WARNING):
        rollouts = await run(service, answer, judge)
    lines = [[(line.level, line.text) for line in rollout.log] for rollout in rollouts]
    assert lines == [[("INFO", f"asked for {n}"), ("WARNING", f"strange {n}")] for n in (1, 2)]
    assert [record.getMessage() for record in caplog.records] == ["strange 1", "strange 2"]


async def test_a_log_call_whose_arguments_do_not_fit_is_kept_as_it_is(service):
    async def workflow(task, model, logger):
        logger.info("%d%%", "many")
        await model("hi")
        return WorkflowOutput(reward=1.0)

    rollout, _ = await run(service, workflow)
    assert rollout.log[0].text == "%d%% ('many',)"


async def test_a_flood_of_lines_is_cut_and_says_so(service):
    async def workflow(task, model, logger):
        for n in range(5000):
            logger.info("%d", n)
        await model("hi")
        return WorkflowOutput(reward=1.0)

    rollout, _ = await run(service, workflow)
    assert len(rollout.log) == 1001
    assert rollout.log[-1].text == "further lines were not kept"


async def test_a_judge_may_explain_its_reward(service):
    async def judge(task, response):
        return JudgeOutput(reward=0.5, explanation="half of it is right")

    assert (await run(service, answer, judge))[0].explanation == "half of it is right"
    assert (await run(service, answer, terse_judge))[0].explanation == ""


async def terse_judge(task, response):
    return JudgeOutput(reward=0.5)


async def test_an_explanation_that_is_no_text_is_an_unusable_output(service):
    class Verdict:
        reward, metrics, explanation = 1.0, None, 3

    async def judge(task, response):
        return Verdict()

    error = (await run(service, answer, judge))[0].error
    assert error is not None
    assert error.kind == "output"
    assert error.message == "The judge's explanation must be text or None, not a int."


async def test_a_rollout_knows_when_it_began_and_how_long_its_judge_took(service):
    async def judge(task, response):
        await asyncio.sleep(0.02)
        return JudgeOutput(reward=1.0)

    before = time.time()
    rollout, _ = await run(service, answer, judge)
    assert before <= rollout.began <= time.time()
    assert 0.019 < rollout.judge_seconds <= rollout.seconds
