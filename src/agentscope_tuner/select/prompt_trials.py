"""Prompts on tasks: what was tried before is read from the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentscope_tuner.config.prompt_arguments import PromptTuneConfig
from agentscope_tuner.select.candidates import OpenModel
from agentscope_tuner.select.prompt_run import PromptRun
from agentscope_tuner.select.trials import Task, call_judge, call_workflow, run_trials, told
from agentscope_tuner.trajectory import Rollout, RolloutError, RolloutGroup, Trajectory
from agentscope_tuner.verbosity import progress_bars
from agentscope_tuner.workflow import JudgeType, WorkflowType


class PromptTrials:
    """Tries prompts, each on a task once."""

    def __init__(
        self,
        workflow: WorkflowType,
        judge: JudgeType,
        model: OpenModel | None,
        run: PromptRun,
        config: PromptTuneConfig,
    ) -> None:
        self._workflow, self._judge, self._model = workflow, judge, model
        self._run, self._config = run, config
        self._numbers: dict[str, int] = {}

    async def groups(
        self, dataset: str, prompt: str, tasks: Sequence[tuple[int, Task]]
    ) -> list[RolloutGroup]:
        """One group of one rollout a task, in the tasks' order."""
        number = self._numbers.setdefault(prompt, len(self._numbers))
        label = f"{dataset}-prompt{number}"
        new = [(at, task) for at, task in tasks if not self._run.trial(prompt, dataset, at)]
        with progress_bars(disable=not self._config.eval_display_progress) as progress:
            bar = progress.add_task(label, total=len(new))
            made = await run_trials(
                label,
                new,
                lambda at, task, rollout: self._trial(prompt, at, task, rollout),
                max_concurrent=self._config.eval_num_threads,
                on_done=lambda: progress.advance(bar),
            )
        fresh = {at: group for (at, _), group in zip(new, made, strict=True)}
        self._run.tried([_line(prompt, dataset, at, group) for at, group in fresh.items()])
        return [
            fresh.get(at) or self._remembered(label, prompt, dataset, at, task)
            for at, task in tasks
        ]

    async def _trial(self, prompt: str, number: int, task: Task, rollout: Rollout) -> None:
        if self._model is None:
            response, _ = await call_workflow(self._workflow, task=task, system_prompt=prompt)
        else:
            stream = (self._config.seed, number)
            with self._model.rollout(rollout.id, stream) as (model, rollout.trajectory):
                response, _ = await call_workflow(
                    self._workflow, task=task, system_prompt=prompt, model=model
                )
        rollout.response = told(response)
        await call_judge(self._judge, task, response, rollout)

    def _remembered(
        self, label: str, prompt: str, dataset: str, number: int, task: Task
    ) -> RolloutGroup:
        line = self._run.trial(prompt, dataset, number)
        assert line is not None, "what is not fresh was tried before"
        error = None if line["error"] is None else RolloutError(*line["error"])
        rollout = Rollout(
            f"{label}-{number}-0", task, Trajectory(), line["reward"], response=line["response"]
        )
        rollout.error = error
        return RolloutGroup(f"{label}-{number}", task, [rollout])


def _line(prompt: str, dataset: str, number: int, group: RolloutGroup) -> dict[str, Any]:
    (rollout,) = group.rollouts
    return {
        "prompt": prompt,
        "set": dataset,
        "task": number,
        "reward": rollout.reward,
        "response": rollout.response,
        "error": None if rollout.error is None else [rollout.error.kind, rollout.error.message],
    }
