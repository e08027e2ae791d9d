"""Samples with our torch sampler."""

from __future__ import annotations

import asyncio
from pathlib import Path

import torch
from channel import Channel, Message, Timer

from agentscope_tuner.inference.base import SamplingParams
from agentscope_tuner.inference.loading import load_config, load_model, load_tokenizer
from agentscope_tuner.inference.torch_sampler import TorchSampler


def main() -> None:
    """Load and serve."""
    channel = Channel()
    directory = Path(channel.settings["model"])
    sampler = TorchSampler(
        load_config(directory),
        load_model(directory, torch.bfloat16).state_dict(),
        load_tokenizer(directory),
        max_model_len=channel.settings["max_length"],
        cache_bytes=channel.settings["cache_bytes"],
    )
    loop = asyncio.new_event_loop()

    async def converse(turns: list[list[int]], params: SamplingParams) -> None:
        tokens: list[int] = []
        for observation in turns:
            tokens += observation
            tokens += (await sampler.sample(tokens, params)).token_ids

    async def sample(conversations: list[list[list[int]]], params: SamplingParams) -> None:
        await asyncio.gather(*(converse(turns, params) for turns in conversations))

    def work(request: Message) -> Message:
        before = sampler.stats()
        with Timer() as timer:
            loop.run_until_complete(
                sample(request["conversations"], SamplingParams(max_tokens=request["new"]))
            )
        after = sampler.stats()
        return {
            "seconds": timer.seconds,
            "tokens": after["sampled_tokens"] - before["sampled_tokens"],
            "prefill_tokens": after["prefill_tokens"] - before["prefill_tokens"],
        }

    channel.serve(work)


if __name__ == "__main__":
    main()
