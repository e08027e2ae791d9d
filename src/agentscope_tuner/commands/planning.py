"""The first steps of a run, taken in a directory that is thrown away, to say what all will take."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from agentscope_tuner.build.algorithm import build_algorithm
from agentscope_tuner.build.data import build_evaluations, build_taskset
from agentscope_tuner.commands.every_group import EveryGroupTeaches
from agentscope_tuner.commands.peak import PeakMemory
from agentscope_tuner.commands.training import run
from agentscope_tuner.config.buffer import Operator
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.stop import Alerts, Stop
from agentscope_tuner.engine.callbacks import Callback
from agentscope_tuner.engine.companions import Companions
from agentscope_tuner.engine.held_out_cache import evaluation_bytes
from agentscope_tuner.engine.models import ModelFiles, default_device, max_length
from agentscope_tuner.engine.needs import tuning_needs
from agentscope_tuner.engine.plan import Measured, Plan, times
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.memory import free_memory, total
from agentscope_tuner.runs.files import RunFiles
from agentscope_tuner.signals import ended_by
from agentscope_tuner.workflow import JudgeType, WorkflowType

STEPS = 2
"""That are taken as the run takes them: one to warm up, one to measure. In those that follow every
group teaches, where rollouts are learnt from."""
MOST_STEPS = 6
"""In all. The allocator fills what one step has left with what the next one needs, of other sizes,
so the peak rises for some steps."""
SETTLED = 1.02
"""A step with a peak of at most so many times the last one's is the last that is taken."""


async def plan(
    config: Config, *, workflow_func: WorkflowType | None, judge_func: JudgeType | None
) -> Plan:
    """What the run of this configuration will take; see `astuner plan`."""
    if config.mode in ("explore", "bench"):
        raise InputError(f"mode {config.mode} trains nothing: there is nothing to plan.")
    if config.cluster.ray_address or config.cluster.node_num > 1:
        raise InputError("astuner plan measures on this machine, and this run is for a cluster.")
    if config.model.tinker.enable:
        raise InputError(
            "astuner plan measures on this machine, and this run's model is at a Tinker service."
        )
    algorithm, steps = build_algorithm(config), build_taskset(config).total_steps
    files = ModelFiles.of_tuned(config)
    companions = Companions.find(config, algorithm, files)
    needs = tuning_needs(config, files, companions)
    adapted = config.model_copy(deep=True)
    adapted.model.lora.rank = adapted.model.lora.rank or 16
    device, root = default_device(), _existing(Path(config.checkpoint_root_dir))
    free = free_memory(device)
    sets = build_evaluations(config)
    evaluations = 1 + times(steps, config.explorer.eval_interval)
    saves = times(steps, config.trainer.save_interval)
    most = (config.trainer.keep_last or saves) + (config.trainer.keep_best is not None)
    evaluated = sum(len(one.tasks) * one.samples for one in sets)
    measured = None
    if total(needs) <= free:
        most_steps = max(STEPS + 1, min(MOST_STEPS, steps))
        first = _first_steps(config, most_steps, learns_from_rollouts=algorithm.data == "rollouts")
        measured = await _measure(first, files, evaluated, root, workflow_func, judge_func)
    return Plan(
        steps=steps,
        evaluated=evaluations * evaluated,
        saves=saves,
        kept=min(saves, most),
        needs=needs,
        with_adapters=tuning_needs(adapted, files, companions),
        free_bytes=free,
        disk_free_bytes=shutil.disk_usage(root).free,
        device=str(device),
        keys={
            "buffer.batch_size": config.buffer.batch_size,
            "model.lora.rank": config.model.lora.rank,
        },
        measured=measured,
    )


class FirstSteps(Callback):
    """When each step had been taken and the checkpoint was there, and the peak of memory then."""

    def __init__(self, memory: PeakMemory) -> None:
        self._memory = memory
        self.stepped: list[float] = []
        self.peaks: list[int] = []
        self.saved = 0.0

    def on_step(self, step: int, metrics: Mapping[str, float]) -> bool:
        """End when a step has taken no more than the one before."""
        self.stepped.append(time.perf_counter())
        self.peaks.append(self._memory.peak)
        return step > STEPS and self.peaks[-1] <= SETTLED * self.peaks[-2]

    def on_save(self, step: int, checkpoint: Path) -> None:
        self.saved = time.perf_counter()


async def _measure(
    config: Config,
    files: ModelFiles,
    evaluated: int,
    root: Path,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
) -> Measured:
    """Take the steps of `config`; `evaluated` are the rollouts of an evaluation of the run."""
    device = default_device()
    free, stop, began = free_memory(device), StopRequest(), time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix=".astuner-plan-", dir=root) as place,
        PeakMemory(device) as memory,
    ):
        config.checkpoint_root_dir, clock = place, FirstSteps(memory)
        result = await run(
            config,
            workflow_func=workflow_func,
            judge_func=judge_func,
            resume=False,
            stop=stop,
            callbacks=[clock],
        )
        if not result.finished:
            raise ended_by(stop.signal)
        written = RunFiles(result.run_directory)
        written.table.refresh()
        records = written.records()
        first, measured, last = records[0], records[STEPS - 1], records[-1]
        judged, took = (written.table.columns[name].sum() for name in ("judge_seconds", "seconds"))
        rollout_s = measured.get("time/rollout", 0.0)
        tokens = measured.get("rollout/response_tokens", 0.0)
        each = tokens + measured.get("rollout/prompt_tokens", 0.0)
        longest = _longest(config, files) * measured.get("rollout/turns", 1.0)
        rollouts = int(measured.get("rollout/count", 0))
        learnt = measured["train/tokens"] - measured.get("train/skipped_tokens", 0.0)
        assert result.checkpoint is not None
        return Measured(
            loading_s=clock.stepped[0] - began - first["time/step"],
            first_step_s=first["time/step"],
            step_s=measured["time/step"],
            phases_s={
                "rollout": rollout_s,
                "judge": rollout_s * float(judged / took) if took else 0.0,
                "train": measured["time/train"],
                "sync": measured.get("time/sync", 0.0),
            },
            teaching=min(1.0, learnt / (rollouts * tokens)) if tokens else 1.0,
            all_teach_s=last["time/train"],
            save_s=clock.saved - clock.stepped[-1],
            rollouts=rollouts,
            response_tokens=tokens,
            longest=max(1.0, longest / tokens) if tokens else 1.0,
            peak_bytes=memory.peak,
            evaluation_bytes=evaluation_bytes(
                config,
                files,
                device,
                free=free,
                step_tokens=rollouts * each,
                evaluation_tokens=evaluated * each,
            ),
            checkpoint_bytes=_size(result.checkpoint),
            rollout_bytes=_size(result.run_directory / "rollouts") / max(len(written.table), 1),
        )


def _first_steps(config: Config, steps: int, *, learns_from_rollouts: bool) -> Config:
    """The run, but for its length, and without what it tells others."""
    first = config.model_copy(deep=True)
    first.project, first.name = "plan", "first-steps"
    first.buffer.total_steps = steps
    first.buffer.explorer_input.eval_tasksets = []
    first.trainer.save_interval = steps
    first.trainer.keep_last = first.trainer.keep_best = None
    first.monitor.monitor_type = []
    first.stop, first.alerts = Stop(), Alerts()
    if learns_from_rollouts:
        kind = EveryGroupTeaches
        name = f"{kind.__module__}:{kind.__name__}"
        pipeline = first.data_processor.experience_pipeline
        # First of all: what others leave out is left out by the rewards that are learnt.
        pipeline.operators = [Operator(name=name, args={"since": STEPS + 1}), *pipeline.operators]
    return first


def _longest(config: Config, files: ModelFiles) -> float:
    """Tokens that one answer of the model may have."""
    settings = config.trained_model()
    most = max_length(settings, files.config)
    return min(settings.max_response_tokens or most, most)


def _existing(directory: Path) -> Path:
    """The directory, or the first one above it that is there."""
    return next(
        path for path in (directory.absolute(), *directory.absolute().parents) if path.is_dir()
    )


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
