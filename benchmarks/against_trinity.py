"""What `astuner export-config --trinity` writes, read by Trinity-RFT's own loader and validators.

    python benchmarks/against_trinity.py

Fails if a file is refused, or if a value was read otherwise than it was written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from models import MODEL
from peers import TRINITY
from race import Contestant

from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.trinity_export import trinity_yaml
from agentscope_tuner.inference.loading import resolve_model

TYPES = (
    *("asymre", "cispo", "cpt", "dapo", "dpo", "gigpo", "grpo", "grpo_verl", "gspo", "jsd", "mix"),
    *("mix_chord", "multi_step_grpo", "on_policy_distill", "opmd", "ppo", "raft", "rec"),
    *("reinforceplusplus", "rloo", "sapo", "sft", "sppo", "topr"),
)
BASE: dict[str, Any] = {
    "project": "exported",
    "name": "run",
    "model.max_model_len": 512,
    "buffer.explorer_input.taskset.path": "data",
    "buffer.experts.path": "written",
    "cluster": {"node_num": 1, "gpu_per_node": 8},
}
CASES: dict[str, dict[str, Any]] = {
    "adapters": {"model.lora": {"rank": 8, "alpha": 16}},
    "divergence": {
        "algorithm.kl_loss_fn": "low_var_kl",
        "algorithm.kl_loss_fn_args": {"kl_coef": 0.01, "adaptive": True, "target": 0.2},
    },
    "judge": {
        "explorer.auxiliary_models": [{"name": "judge", "model_path": "j", "temperature": 0}],
        "explorer.rollout_model.engine_num": 4,
    },
    "operators": {
        "data_processor.experience_pipeline.operators": [
            {"name": "reward_std_filter", "args": {"threshold": 0.1}}
        ]
    },
    "held out": {
        "buffer.explorer_input.eval_tasksets": [{"path": "e", "split": "test", "repeat_times": 4}],
        "explorer.eval_interval": 10,
    },
    "stale": {
        "synchronizer": {"sync_style": "explorer_driven", "sync_interval": 2, "sync_offset": 1},
        "explorer.over_rollout.ratio": 0.2,
        "trainer.keep_last": 3,
    },
}


def configurations() -> Iterator[tuple[str, Config]]:
    """One of every rule that both have, and further ones."""
    base = BASE | {"model.model_path": str(resolve_model(MODEL))}
    for kind in TYPES:
        yield kind, resolve(overrides=base | {"algorithm.algorithm_type": kind})
    for name, settings in CASES.items():
        yield name, resolve(overrides=base | settings)


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a tree, by its dotted name."""
    items = enumerate(tree) if isinstance(tree, list) else tree.items()
    for key, value in items:
        at = f"{name}.{key}".lstrip(".")
        if isinstance(value, dict | list):
            yield from leaves(value, at)
        else:
            yield at, value


def main() -> None:
    """Export, have all read, and say what went wrong."""
    wrong = []
    with (
        TemporaryDirectory() as directory,
        Contestant("trinity-configuration", "validate_trinity.py", {}, TRINITY.python) as trinity,
    ):
        trinity.pause_seconds = 0.0  # nothing is timed
        for name, config in configurations():
            path = Path(directory, f"{name}.yaml")
            config.checkpoint_root_dir = directory
            path.write_text(trinity_yaml(config), encoding="utf-8")
            answer = trinity.ask({"path": str(path)})
            if answer["refused"] is not None:
                wrong.append(f"{name}: {answer['refused']}")
                continue
            for key, value in leaves(yaml.safe_load(path.read_text(encoding="utf-8"))):
                if answer["read"].get(key) != value:
                    wrong.append(f"{name}: {key} is {value!r}, read as {answer['read'][key]!r}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(TYPES) + len(CASES)} configurations: all read and accepted by {TRINITY.alone[0]}")


if __name__ == "__main__":
    main()
