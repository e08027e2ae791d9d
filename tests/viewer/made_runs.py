"""Run directories as a run writes them, without a model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.runs.writer import RolloutWriter
from agentscope_tuner.trajectory import (
    AuxiliaryCall,
    Call,
    LogLine,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)

TOKEN = "a-token"
"""Of the servers that the tests start."""
BEGAN = 1_790_000_000.0
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]

ATTACKS = {
    "script": "<script>document.title='owned'</script>",
    "image": "<img src=x onerror=\"document.title='owned'\">",
    "svg": "<svg onload=\"document.title='owned'\">",
    "link": "[click](javascript:document.title='owned') <a href=\"javascript:alert(1)\">x</a>",
    "remote": "![x](https://evil.example/p.png) <link rel=stylesheet href=//evil.example/x.css>",
    "frame": "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
    "close": "</script></style></textarea></title><script>document.title='owned'</script>",
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "bidi": "a\u202egnp.exe\u2066",
    "invisible": "zero\u200bwidth\u2060\U000e0041",
    "template": "${document.title='owned'} {{constructor.constructor('1')()}}",
    "prototype": "__proto__ constructor hasOwnProperty",
}
HOSTILE = "\n".join(ATTACKS.values())


def sampled(ids: list[int], version: int = 0) -> Sampled:
    """Numbers for sampled tokens, in every column that there is."""
    logprobs = [-((token * 7) % 50) / 10 for token in ids]
    return Sampled(
        logprobs,
        [False] * (len(ids) - 1) + [True],
        "policy",
        version,
        columns={
            "learner": [p + (token % 3 - 1) / 10 for p, token in zip(logprobs, ids, strict=True)],
            "entropy": [(token % 9) / 3 for token in ids],
        },
    )


def a_rollout(name: str, task: dict[str, Any], text: str, **changes: Any) -> Rollout:
    """A rollout of one call whose answer is `text`."""
    length = changes.pop("length", 12)
    prompt, answer = list(range(100, 120)), [200 + (n * 37) % 5000 for n in range(length)]
    # The first tokens of a group are the same.
    answer[:3], answer[3:4] = [500, 501, 502], [600 + hash(name) % 100]
    trajectory = Trajectory(
        [Segment(None, prompt), Segment(0, answer, sampled(answer))],
        [
            Call(
                1,
                [
                    {"role": "system", "content": "You are terse."},
                    {"role": "user", "content": str(task.get("question"))},
                ],
                None,
                {"role": "assistant", "content": text},
                "stop",
                seconds=1.0,
                began=BEGAN + 0.5,
            )
        ],
    )
    fields: dict[str, Any] = {
        "reward": 0.5,
        "advantage": 0.25,
        "response": text,
        "began": BEGAN,
        "seconds": 2.0,
        "judge_seconds": 0.25,
        **changes,
    }
    return Rollout(name, task, trajectory, **fields)


def with_tools(name: str, task: dict[str, Any]) -> Rollout:
    """Two turns with a tool between, thinking, a new branch, an auxiliary call, a log."""
    rollout = a_rollout(name, task, "three", reward=1.0, advantage=1.0, explanation="It is right.")
    call = {"id": "c1", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    asked = [{"role": "user", "content": "1 + 2?"}]
    said = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "I shall add.",
        "tool_calls": [call],
    }
    answered = [*asked, said, {"role": "tool", "tool_call_id": "c1", "content": "3" * 2000}]
    last = {"role": "assistant", "content": "three"}
    one, two, three = [300, 301, 302], [400, 401], [410, 411, 412]
    rollout.trajectory = Trajectory(
        [
            Segment(None, list(range(100, 110))),
            Segment(0, one, sampled(one)),
            Segment(1, two),
            Segment(2, three, sampled(three)),
            Segment(None, list(range(150, 155))),
            Segment(4, three, sampled(three)),
        ],
        [
            Call(5, asked, None, last, "stop", seconds=0.25, began=BEGAN + 0.1),
            Call(1, asked, TOOLS, said, "tool_calls", "tools_changed", 0.5, BEGAN + 0.4),
            Call(3, answered, TOOLS, last, "stop", None, 0.5, BEGAN + 1.2),
        ],
    )
    rollout.auxiliary_calls = [AuxiliaryCall("judge", asked, None, last, "stop", 0.2, BEGAN + 1.8)]
    rollout.log = [LogLine(BEGAN + 1, "INFO", "calling the tool")]
    return rollout


def a_group(step: int, number: int, label: str = "step") -> RolloutGroup:
    """Four rollouts: with tools, plain, cut off (shaped, and left out), failed."""
    task = {"question": f"What is {number} + 2?", "answer": str(number + 2)}
    name = f"{label}{step}-{number}"
    cut = a_rollout(f"{name}-2", task, "and so on and so", reward=0.0, advantage=-1.0, length=40)
    cut.trajectory.calls[0].finish_reason = "length"
    cut.shaped_reward, cut.left_out = -0.75, "mask_response_truncated"
    error = RolloutError("workflow", "ValueError: bad luck", "Traceback: here")
    rollouts = [
        with_tools(f"{name}-0", task),
        a_rollout(f"{name}-1", task, f"It is {number}. Sorry.", reward=step / 10),
        cut,
        a_rollout(f"{name}-3", task, "", reward=None, advantage=None, error=error),
    ]
    return RolloutGroup(name, task, rollouts)


def metrics(step: int, **changes: float) -> dict[str, float]:
    """A line of `metrics.jsonl` about a training step."""
    return {
        "step": step,
        "reward/mean": 0.3 + step / 20,
        "reward/std": 0.1,
        "rollout/failed": 1.0,
        "policy/kl_sampler_learner": 1e-3 * step,
        "train/tokens": 100.0,
        "time/step": 2.0 + step,
        **changes,
    }


def write_lines(run: Path, records: list[dict[str, float]]) -> None:
    """Append to `metrics.jsonl`."""
    with (run / "metrics.jsonl").open("a") as file:
        for record in records:
            known = {
                k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()
            }
            file.write(json.dumps(known) + "\n")


def write_steps(run: Path, steps: range, groups: int = 3) -> None:
    """Add steps with their rollouts to a run, an evaluation after every second."""
    writer = RolloutWriter(run)
    for step in steps:
        writer.write(step, [a_group(step, n) for n in range(groups)], None)
        write_lines(run, [metrics(step)])
        if step % 2 == 0:
            writer.write(step, [a_group(step, n, "eval-test-step") for n in range(groups)], "test")
            write_lines(run, [{"step": step, "eval/test/reward/mean": step / 10}])
    writer.close()


def make_run(run: Path, steps: int = 4, lr: float = 1e-5, status: str = "finished") -> Path:
    """A whole run of some steps."""
    run.mkdir(parents=True)
    RunState(status, steps, steps).save(run)  # type: ignore[arg-type]
    optimizer = f"algorithm:\n  optimizer:\n    lr: {lr:f}\n"
    (run / "config.yaml").write_text(f"project: {run.parent.name}\nname: {run.name}\n{optimizer}")
    (run / "versions.json").write_text('{"format": 1, "packages": {"torch": "2.13.0"}}')
    (run / "run.log").write_text("2026-11-24 16:00:00 INFO run: step 1\n")
    write_steps(run, range(1, steps + 1))
    return run


def make_hostile_run(run: Path) -> Path:
    """A run in which everything that a model or a user can write is an attack."""
    run.mkdir(parents=True)
    RunState("finished", 1, 1).save(run)
    (run / "config.yaml").write_text(json.dumps({"name": HOSTILE, HOSTILE: HOSTILE}))
    (run / "run.log").write_text(HOSTILE)
    (run / "versions.json").write_text(HOSTILE)
    write_lines(run, [metrics(1, **{f"judge/{HOSTILE}": 1.0})])
    task = {"question": HOSTILE, HOSTILE: HOSTILE}
    rollout = with_tools("step1-0-0", task)
    rollout.response = rollout.explanation = HOSTILE
    rollout.metrics = {f"judge/{HOSTILE}": 1.0}
    rollout.log = [LogLine(BEGAN, HOSTILE, HOSTILE)]
    rollout.auxiliary_calls[0].model = HOSTILE
    for call in rollout.trajectory.calls:
        call.finish_reason = call.branch = HOSTILE
        call.messages = [{"role": HOSTILE, "content": HOSTILE}, *call.messages]
        call.response = {
            "role": "assistant",
            "content": HOSTILE,
            "reasoning_content": HOSTILE,
            "tool_calls": [{"id": HOSTILE, "function": {"name": HOSTILE, "arguments": HOSTILE}}],
        }
    failed = a_rollout("step1-0-1", task, HOSTILE, reward=None, advantage=None)
    failed.error = RolloutError("workflow", HOSTILE, HOSTILE)
    writer = RolloutWriter(run)
    writer.write(1, [RolloutGroup("step1-0", task, [rollout, failed])], None)
    writer.write(1, [RolloutGroup(HOSTILE, task, [rollout])], HOSTILE)
    writer.close()
    return run
