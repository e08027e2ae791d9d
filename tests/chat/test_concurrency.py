"""Many rollouts at once, some of them cut off: no token ever leaves its rollout."""

from __future__ import annotations

import asyncio
import random

from chat_parts import Client, ScriptedSampler, serve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_trajectories import assert_faithful
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.session import Session


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_64_rollouts_with_random_ends_never_mix(seed: int, smol: PreTrainedTokenizerBase) -> None:
    rng = random.Random(seed)

    def say(prompt_ids: list[int], _: object) -> list[int]:
        # Every answer names the rollout that asked.
        name = smol.decode(prompt_ids).partition("I am ")[2].partition(".")[0]
        if rng.random() < 0.02:
            raise RuntimeError("a random failure")
        return [*smol.encode(f"Hello {name}, {rng.random()}"), smol.eos_token_id]

    async def rollout(session: Session) -> int:
        """Talk until something goes wrong; returns the refusals."""
        client = Client(service, session.rollout_id)
        history = [{"role": "user", "content": f"I am {session.rollout_id}."}]
        for turn in range(rng.randint(2, 5)):
            response = await client.ask(history)
            if response.status_code != 200:
                return 1
            history.append(response.json()["choices"][0]["message"])
            history.append({"role": "user", "content": f"turn {turn}"})
        return 0

    async def run() -> None:
        sessions = [service.open(f"r{n}", seed=n) for n in range(64)]
        rollouts = [asyncio.create_task(rollout(session)) for session in sessions]
        closed = {}
        for session in rng.sample(sessions, 16):
            await asyncio.sleep(rng.random() / 500)
            session.close()
            closed[session.rollout_id] = len(session.trajectory.segments)
        refused = sum(await asyncio.gather(*rollouts))
        assert refused >= sum(session.fault is not None for session in sessions)
        for session in sessions:
            if session.rollout_id in closed:
                late = await Client(service, session.rollout_id).ask("am I late?")
                assert late.status_code == 404
                assert len(session.trajectory.segments) == closed[session.rollout_id]
            trajectory = session.trajectory
            assert len(trajectory.leaves()) <= 1
            for call in trajectory.calls:
                walk = smol.decode(trajectory.token_ids(call.segment))
                assert f"I am {session.rollout_id}." in walk
                assert walk.count("Hello ") == walk.count(f"Hello {session.rollout_id},")
            own = [
                pair
                for pair in sampler.said
                if f"I am {session.rollout_id}." in smol.decode(pair[0])
            ]
            if session.rollout_id not in closed:
                assert_faithful(trajectory, own)

    sampler = ScriptedSampler(say, delay=lambda: rng.random() / 200)
    service = serve(smol, sampler)
    asyncio.run(run())
