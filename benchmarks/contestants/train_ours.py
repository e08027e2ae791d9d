"""Trains on given groups with our learner: gradient and update."""

from __future__ import annotations

from pathlib import Path

from channel import Channel, Message, Timer
from synthetic import as_group, conversation, make_learner, single_turn_groups

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm


def main() -> None:
    """Load and serve."""
    channel = Channel()
    settings = channel.settings
    learner = make_learner(Path(settings["model"]), lora_rank=settings.get("lora_rank", 0))

    def work(request: Message) -> Message:
        algorithm = get_algorithm(algorithm_type=request.get("algorithm", "grpo"))
        if "rollouts" in request:
            groups = [as_group(0, [conversation(parts) for parts in request["rollouts"]])]
        else:
            groups = single_turn_groups(request["rows"], request["prompt"])
        with Timer() as timer:
            batch = Batch(groups)
            # Given, as computing a reference is no part of the step.
            batch.columns["reference"] = batch.columns["sampler"]
            if algorithm.scope != "token":
                learner.forward(batch, {"current"})
            algorithm.prepare(batch)
            learner.forward_backward(batch, algorithm)
            learner.optim_step(at=0)
        return {
            "seconds": timer.seconds,
            "checkpointed": learner.model.training,
            "peak_bytes": peak_bytes(),
        }

    channel.serve(work)


def peak_bytes() -> int:
    """The most memory that this process ever had, as Linux counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return 1024 * int(kilobytes)


if __name__ == "__main__":
    main()
