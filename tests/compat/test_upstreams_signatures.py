"""Our public names and signatures beside those of the AgentScope that is installed.

Every difference that is on purpose stands here; any other is a mistake.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import agentscope
import pytest

import agentscope_tuner
from agentscope_tuner.compat import tuner

SOURCE = Path(agentscope.__file__).parent / "tuner"
"""Read, as it cannot be imported without dspy."""

MORE_ARGUMENTS = {
    "tune": {"callbacks", "resume"},
    "select_model": set(),
    "tune_prompt": {"model", "project_name", "experiment_name", "resume"},
    "avg_time_judge": set(),
    "avg_token_consumption_judge": set(),
    "check_workflow_function": set(),
    "check_judge_function": set(),
}
"""Arguments of ours that AgentScope's functions lack; all may be left out."""
OTHER_NAMES = {
    # Its own select_model() calls these with `task`, which made every sample fail.
    ("avg_time_judge", "_task"): "task",
    ("avg_token_consumption_judge", "_task"): "task",
}
OPTIONAL_HERE = {("tune", "workflow_func")}
"""Learning from demonstrations needs no workflow, and a configuration may name one."""
MORE_FIELDS = {
    "TunerModelConfig": {"base_url", "api_key_env"},
    "PromptTuneConfig": {"proposer", "seed"},
    "JudgeOutput": {"explanation", "step_rewards"},
    "WorkflowOutput": {"state_keys", "step_rewards"},
}


def definitions() -> dict[str, ast.AST]:
    return {
        node.name: node
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


THEIRS = definitions()


def public_names() -> list[str]:
    (names,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((SOURCE / "__init__.py").read_text()).body
        if isinstance(node, ast.Assign)
    )
    return names


def test_every_public_name_is_served() -> None:
    for name in public_names():
        assert getattr(tuner, name) is getattr(agentscope_tuner, name)


def arguments_of(node: ast.AST) -> dict[str, bool]:
    """By name: whether it may be left out."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    plain = node.args.args
    required = len(plain) - len(node.args.defaults)
    by_place = {one.arg: at >= required for at, one in enumerate(plain)}
    by_name = {
        one.arg: default is not None
        for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    }
    return by_place | by_name


@pytest.mark.parametrize("name", MORE_ARGUMENTS)
def test_a_function_takes_what_agentscopes_takes(name: str) -> None:
    import inspect

    function: Any = getattr(tuner, name)
    ours = inspect.signature(function).parameters
    theirs = arguments_of(THEIRS[name])
    theirs = {OTHER_NAMES.get((name, argument), argument): it for argument, it in theirs.items()}
    assert list(ours)[: len(theirs)] == list(theirs)
    for argument, may_be_left_out in theirs.items():
        has_default = ours[argument].default is not inspect.Parameter.empty
        assert has_default == (may_be_left_out or (name, argument) in OPTIONAL_HERE), argument
    more = set(ours) - set(theirs)
    assert more == MORE_ARGUMENTS[name]
    assert all(ours[argument].default is not inspect.Parameter.empty for argument in more)
    is_async = isinstance(THEIRS[name], ast.AsyncFunctionDef)
    assert inspect.iscoroutinefunction(function) == is_async


def fields_of(node: ast.AST) -> list[str]:
    assert isinstance(node, ast.ClassDef)
    return [
        one.target.id
        for one in node.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    ]


CLASSES = [name for name in public_names() if isinstance(THEIRS.get(name), ast.ClassDef)]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_the_fields_and_methods_of_agentscopes(name: str) -> None:
    ours: Any = getattr(tuner, name)
    theirs = THEIRS[name]
    assert set(ours.model_fields) - set(fields_of(theirs)) == MORE_FIELDS.get(name, set())
    assert set(fields_of(theirs)) <= set(ours.model_fields)
    assert isinstance(theirs, ast.ClassDef)
    for method in theirs.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            assert callable(getattr(ours, method.name))


def test_prompt_settings_have_agentscopes_defaults() -> None:
    namespace: dict[str, Any] = {"__name__": "_config"}
    source = (SOURCE / "prompt_tune" / "_config.py").read_text()
    exec(compile(source, "_config", "exec"), namespace)
    for name, field in namespace["PromptTuneConfig"].model_fields.items():
        assert tuner.PromptTuneConfig.model_fields[name].default == field.default, name
