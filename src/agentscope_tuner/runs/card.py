"""The model card of a checkpoint: where the model is from, what it learnt, what it reached.

`README.md` as the Hugging Face hub reads it, with a picture of the curve beside it, made of nothing
but the run's own files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import ModelCardData

from agentscope_tuner.config.keys import Outcome, values_of
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.hub import split_revision
from agentscope_tuner.inference.finding import AT_SERVICE
from agentscope_tuner.monitor.summary import eval_rewards, training_key
from agentscope_tuner.rollout.estimate import Estimate
from agentscope_tuner.runs.card_curve import Points, draw_curve
from agentscope_tuner.runs.estimates import clustered, evaluated_steps, paired_change, task_means
from agentscope_tuner.runs.files import CONFIG_FILE, RunFiles
from agentscope_tuner.runs.identity import VERSIONS
from agentscope_tuner.visible import visible

CARD = "README.md"
CURVE = "curve.svg"

SAID = ("algorithm.", "buffer.", "model.", "trainer.", "synchronizer.", "explorer.rollout_model.")
"""Sections that decide what the model learns. A card is read by others: environment variables and
addresses of alerts are in none of them."""

Form = Literal["hf", "adapter", "gguf"]
RELATION: dict[Form, str] = {"hf": "finetune", "adapter": "adapter", "gguf": "quantized"}
LIBRARY: dict[Form, str] = {"hf": "transformers", "adapter": "peft", "gguf": "gguf"}
ELSEWHERE = (
    "The weights, which are adapters, are not in this directory: they are at the Tinker service "
    f"that the run was tuned at, under the addresses in `{AT_SERVICE.as_posix()}`. What is here "
    "reads their tokens."
)


def write_card(place: Path, run: RunFiles, step: int, form: Form = "hf") -> None:
    """Write the card into the model directory `place`; of a run that does not know its versions
    (an old one) there is none. Raises InputError as `model_card`."""
    if (run.directory / VERSIONS).is_file():
        (place / CARD).write_text(model_card(run, step, form), encoding="utf-8")
        (place / CURVE).write_text(draw_curve(*_curves(run, step)), encoding="utf-8")


def model_card(run: RunFiles, step: int, form: Form = "hf") -> str:
    """The card of a run's model after `step` steps, as it is when it has this form.

    Raises InputError if files of the run are damaged.
    """
    run.table.refresh()
    config = resolve(config_path=run.directory / CONFIG_FILE)
    versions: dict[str, Any] = json.loads((run.directory / VERSIONS).read_bytes())
    at_service = config.model.tinker.enable
    parts = [
        _metadata(versions, None if at_service else form),
        f"# {run.directory.name}, step {step}",
        f"{_base(versions)}, tuned by reinforcement learning with "
        f"[agentscope-tuner](https://pypi.org/project/agentscope-tuner/) "
        f"{versions['packages'].get('agentscope-tuner', '')}.",
        *([ELSEWHERE] if at_service else []),
        "## Results",
        *_results(run, step),
        "## Curve",
        f"![reward by step]({CURVE})",
        *_ends(run, step),
        "## Data",
        *_data(config, versions),
        "## Reward",
        *_reward(versions),
        "## Settings",
        "What was set otherwise than by default:",
        _table(("key", "value"), _settings(config)),
        "## Versions",
        _table(("package", "version"), versions["packages"].items()),
    ]
    return visible("\n\n".join(parts)) + "\n"


def _metadata(versions: dict[str, Any], form: Form | None) -> str:
    """`form` is None where no library loads it."""
    data = {name: dataset["path"] for name, dataset in versions["datasets"].items()}
    on_hub = [split_revision(p)[0] for p in dict.fromkeys(data.values()) if not Path(p).exists()]
    model = versions["model"]
    base = split_revision(model["path"])[0] if _is_on_hub(model) else None
    card = ModelCardData(
        base_model=base,
        base_model_relation=RELATION[form or "adapter"] if base else None,
        library_name=LIBRARY[form] if form else None,
        pipeline_tag="text-generation",
        datasets=on_hub or None,
        tags=["agentscope-tuner", "reinforcement-learning"],
    )
    return f"---\n{card.to_yaml()}\n---"


def _is_on_hub(model: dict[str, Any]) -> bool:
    return "revision" in model and not model["path"].startswith("pypi:")


def _base(versions: dict[str, Any]) -> str:
    model = versions["model"]
    revision = f" (revision {model['revision']})" if "revision" in model else ""
    return f"`{model['path']}`{revision}"


def _results(run: RunFiles, step: int) -> Iterator[str]:
    rows = []
    for name, steps in evaluated_steps(run.table).items():
        known = [at for at in steps if at <= step]
        if not known:
            continue
        first, last = known[0], known[-1]
        before, after = (task_means(run.table, name, at) for at in (first, last))
        change = paired_change(before, after).estimate if last > first else None
        rows.append(
            (
                f"`{name}`, {len(after)} tasks",
                f"{_plus_minus(_reward_of(run, name, first))} (step {first})",
                f"{_plus_minus(_reward_of(run, name, last))} (step {last})",
                "" if change is None else _plus_minus(change, "+"),
            )
        )
    if not rows:
        yield "There was no held-out evaluation."
        return
    yield _table(("held-out set", "first", "last", "change"), rows)
    yield (
        "Mean reward ± standard error, clustered by task; the change is taken task by task. "
        "Rollouts that failed are left out."
    )


def _reward_of(run: RunFiles, name: str, step: int) -> Estimate:
    columns = run.table.columns
    rows = (columns["set"] == run.table.code("set", name)) & (columns["step"] == step)
    return clustered(columns["reward"][rows], columns["task"][rows])


def _plus_minus(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.mean:{sign}.3f} ± {estimate.standard_error:.3f}"


def _curves(run: RunFiles, step: int) -> tuple[tuple[str, Points], dict[str, Points]]:
    """The training metric and its values by step, and those of each held-out set."""
    records = [record for record in run.records() if record["step"] <= step]
    key = training_key(records)
    training = [(record["step"], record[key]) for record in records if key in record]
    held_out: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, reward in eval_rewards(record).items():
            held_out.setdefault(name, []).append((record["step"], reward))
    known = {name: _finite(points) for name, points in held_out.items()}
    return (f"training, {key}", _finite(training)), known


def _finite(points: Points) -> Points:
    return [(step, value) for step, value in points if math.isfinite(value)]


def _ends(run: RunFiles, step: int) -> Iterator[str]:
    """The same in words."""
    training, held_out = _curves(run, step)
    for name, points in (training, *held_out.items()):
        if points:
            (first, low), (last, high) = points[0], points[-1]
            yield f"{name}: {low:.3f} (step {first:g}) to {high:.3f} (step {last:g})"


def _data(config: Config, versions: dict[str, Any]) -> Iterator[str]:
    inputs = config.buffer.explorer_input
    splits = {"train": inputs.taskset.split} | {of.name: of.split for of in inputs.eval_tasksets}
    yield _table(
        ("for", "path", "split", "SHA-256 of the files"),
        (
            (f"`{name}`", f"`{of['path']}`", splits.get(name) or "", of.get("digest", ""))
            for name, of in versions["datasets"].items()
        ),
    )


def _reward(versions: dict[str, Any]) -> Iterator[str]:
    judge = versions.get("judge")
    if judge is None:
        yield "What was learnt was written down, or the function that gave the reward is not known."
        return
    yield f"The reward is what `{judge['name']}` gives."
    if judge["source"]:
        fence = "```"
        while fence in judge["source"]:
            fence += "`"
        yield f"{fence}python\n{judge['source'].rstrip()}\n{fence}"


def _settings(config: Config) -> Iterator[tuple[str, str]]:
    for key in values_of(config):
        said = key.name == "seed" or key.name.startswith(SAID)
        if said and key.outcome is Outcome.EFFECT and key.value != key.default:
            yield f"`{key.name}`", f"`{key.value}`"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in lines
    )
