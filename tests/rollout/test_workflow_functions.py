"""What workflow and judge functions must look like, and what they may return."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest
import torch

from agentscope_tuner.errors import InputError
from agentscope_tuner.workflow import (
    JudgeOutput,
    WorkflowOutput,
    check_judge_function,
    check_workflow_function,
)


async def minimal(task, model): ...
async def full(task, model, auxiliary_models=None, logger=None): ...
async def reordered(logger, model, *, task): ...
async def no_model(task): ...
async def misspelt(task, model, aux_model): ...
async def variadic(task, model, *args): ...
async def keywords(task, model, **kwargs): ...
async def positional(task, /, model): ...
async def judging(task, response): ...
async def underscored(_task, response): ...
def synchronous(task, model): ...


class Callable:
    async def __call__(self, task, model, logger): ...

    async def method(self, task, model): ...


@functools.wraps(minimal)
def wrapped(*args, **kwargs):
    return minimal(*args, **kwargs)


@pytest.mark.parametrize("func", [minimal, full, reordered, Callable(), Callable().method, wrapped])
def test_a_workflow_takes_task_and_model_by_name(func):
    check_workflow_function(func)


@pytest.mark.parametrize(
    ("func", "message"),
    [
        (no_model, r"'no_model'.*Missing essential parameters: \['model'\]"),
        (judging, r"Missing essential parameters: \['model'\]"),
        (misspelt, r"Contains disallowed parameters: \['aux_model'\]"),
        (variadic, r"\*args parameter is not allowed: \*args"),
        (keywords, r"\*\*kwargs parameter is not allowed: \*\*kwargs"),
        (positional, "'task' must not be positional-only"),
        (synchronous, "'synchronous' is not async"),
        (7, "must be an async function, not 7"),
    ],
)
def test_anything_else_is_refused_with_a_sentence_that_says_why(func, message):
    with pytest.raises(InputError, match=message):
        check_workflow_function(func)
    with pytest.raises(ValueError, match=message):
        check_workflow_function(func)


def test_a_judge_takes_task_and_response():
    check_judge_function(judging)
    with pytest.raises(InputError, match="The judge function 'underscored': Missing essential"):
        check_judge_function(underscored)


def test_outputs_have_agentscopes_fields_and_defaults():
    empty = WorkflowOutput()
    assert (empty.reward, empty.response, empty.metrics) == (None, None, None)
    assert JudgeOutput(reward=-1).metrics is None
    assert type(JudgeOutput(reward=1).reward) is float
    with pytest.raises(ValueError, match="reward"):
        JudgeOutput()


@pytest.mark.parametrize(
    ("value", "number"),
    [(True, 1.0), (3, 3.0), (np.float32(0.5), 0.5), (torch.tensor(2), 2.0), (Fraction(1, 4), 0.25)],
)
def test_every_kind_of_number_is_a_metric(value, number):
    assert WorkflowOutput(metrics={"m": value}).metrics == {"m": number}


@pytest.mark.parametrize("value", ["0.5", "high", None, [1], float("nan"), object()])
def test_what_is_no_number_among_the_metrics_raises_nothing_in_the_workflow(value):
    for make in (WorkflowOutput, functools.partial(JudgeOutput, reward=1)):
        assert make(metrics={"accuracy": value, 7: 1}).metrics == {"accuracy": value, 7: 1}
