"""An agent of several turns: sampled by our sampler, trained on by our learner."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from channel import Channel, Message, Timer
from synthetic import as_group, make_learner

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.inference.base import SamplingParams
from agentscope_tuner.inference.loading import load_config, load_tokenizer
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.trajectory import Sampled, Segment, Trajectory


class Conversation:
    """One rollout: in each turn an observation is read and an answer sampled."""

    def __init__(self, prompt: list[int], seed: int) -> None:
        self.trajectory = Trajectory()
        self.separate_tokens = 0
        """Of all turns, each with everything before it."""
        self._draw = random.Random(seed)
        self._tokens: list[int] = []
        self._observe(prompt)

    async def run(self, sampler: TorchSampler, request: Message) -> None:
        """All turns."""
        params = SamplingParams(max_tokens=request["new"])
        for _ in range(request["turns"]):
            self._observe(self._draw.choices(range(100, 40_000), k=request["observation"]))
            answer = await sampler.sample(self._tokens, params)
            known = Sampled(answer.logprobs, answer.forced, "policy", answer.version)
            self._append(answer.token_ids, known)
            self.separate_tokens += len(self._tokens)

    def _observe(self, token_ids: list[int]) -> None:
        self._append(token_ids, None)

    def _append(self, token_ids: list[int], known: Sampled | None) -> None:
        segments = self.trajectory.segments
        segments.append(Segment(len(segments) - 1 if segments else None, token_ids, known))
        self._tokens = self._tokens + token_ids


def main() -> None:
    """Load and serve."""
    channel = Channel()
    directory = Path(channel.settings["model"])
    learner = make_learner(directory)
    algorithm = get_algorithm()
    sampler = TorchSampler(
        load_config(directory), learner.weights(), load_tokenizer(directory), max_model_len=2048
    )
    loop = asyncio.new_event_loop()

    async def converse(conversations: list[Conversation], request: Message) -> None:
        await asyncio.gather(*(c.run(sampler, request) for c in conversations))

    def work(request: Message) -> Message:
        seed = request["seed"]
        prompt = random.Random(seed).choices(range(100, 40_000), k=request["prompt"])
        conversations = [Conversation(prompt, seed * 1000 + i) for i in range(request["rollouts"])]
        before = sampler.stats()["prefill_tokens"]
        with Timer() as sampling:
            loop.run_until_complete(converse(conversations, request))
        prefill_tokens = sampler.stats()["prefill_tokens"] - before
        group = as_group(0, [c.trajectory for c in conversations])
        with Timer() as training:
            batch = Batch([group])
            algorithm.prepare(batch)
            learnt = learner.forward_backward(batch, algorithm)
            learner.optim_step(at=0)
        loop.run_until_complete(sampler.load_weights(learner.weights(), learner.step))
        return {
            "sampling_seconds": sampling.seconds,
            "training_seconds": training.seconds,
            "prefill_tokens": prefill_tokens,
            "packed_tokens": learnt["train/packed_tokens"],
            "separate_tokens": sum(c.separate_tokens for c in conversations),
        }

    channel.serve(work)


if __name__ == "__main__":
    main()
