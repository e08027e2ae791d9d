"""What a caller of the torch sampler relies on: ends, seeds, streaming, weights, failures."""

import asyncio

import pytest
import torch
from tiny_models import random_prompts, reference_greedy, tiny_model
from torch.multiprocessing.reductions import StorageWeakRef

from agentscope_tuner.errors import RunError
from agentscope_tuner.inference import decoder
from agentscope_tuner.inference.base import SamplingParams
from agentscope_tuner.inference.linear import Product
from agentscope_tuner.inference.torch_sampler import TorchSampler

PROMPT = random_prompts(1)[0]
GREEDY = SamplingParams(max_tokens=30, temperature=0.0)


async def test_a_stop_token_ends_the_completion_and_belongs_to_it(model, make_sampler):
    expected = reference_greedy(model, PROMPT, 30)
    stop = expected[10]
    params = SamplingParams(max_tokens=30, temperature=0.0, stop_token_ids=(stop,))
    completion = await make_sampler().sample(PROMPT, params)
    assert completion.token_ids == expected[: expected.index(stop) + 1]
    assert completion.finish_reason == "stop"


async def test_a_stop_string_may_span_tokens(model, make_sampler, tokenizer):
    expected = reference_greedy(model, PROMPT, 30)
    stop = tokenizer.decode(expected[9:12])
    params = SamplingParams(max_tokens=30, temperature=0.0, stop=("never there", stop))
    completion = await make_sampler().sample(PROMPT, params)
    assert tokenizer.decode(completion.token_ids).endswith(stop)
    assert tokenizer.decode(completion.token_ids).count(stop) == 1
    assert completion.token_ids == expected[: len(completion.token_ids)]
    assert completion.finish_reason == "stop"


async def test_prompt_and_completion_stay_within_the_model_length(make_sampler):
    completion = await make_sampler(max_model_len=32).sample(PROMPT, GREEDY)
    assert len(completion.token_ids) == 32 - len(PROMPT)
    assert completion.finish_reason == "length"


async def test_a_prompt_without_room_for_an_answer_is_refused(make_sampler):
    with pytest.raises(
        ValueError, match="20 tokens leaves no room for an answer in the model's 20"
    ):
        await make_sampler(max_model_len=20).sample(PROMPT, GREEDY)


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}],
)
async def test_parameters_out_of_range_are_refused(make_sampler, wrong):
    with pytest.raises(ValueError, match="must be"):
        await make_sampler().sample(PROMPT, SamplingParams(**{"max_tokens": 1, **wrong}))


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-38, 9e-6])
async def test_a_temperature_next_to_zero_is_greedy(model, make_sampler, temperature, top_p):
    params = SamplingParams(max_tokens=10, temperature=temperature, top_p=top_p)
    completion = await make_sampler().sample(PROMPT, params)
    assert completion.token_ids == reference_greedy(model, PROMPT, 10)
    assert completion.forced == [True] * 10
    assert params.temperature == 0  # what is recorded


async def test_a_seed_gives_the_same_completion_in_any_company(make_sampler):
    sampler, seeded = make_sampler(), SamplingParams(max_tokens=20, seed=7)
    alone = await sampler.sample(PROMPT, seeded)
    others = [sampler.sample(p, SamplingParams(max_tokens=25)) for p in random_prompts(9, seed=3)]
    *_, together = await asyncio.gather(*others, sampler.sample(PROMPT, seeded))
    assert together.token_ids == alone.token_ids


async def test_samplers_with_one_seed_draw_alike_and_can_be_resumed(make_sampler):
    params = SamplingParams(max_tokens=10)
    one, two, other = make_sampler(seed=5), make_sampler(seed=5), make_sampler(seed=6)
    first = [await one.sample(PROMPT, params) for _ in range(2)]
    state = one.state_dict()
    third = await one.sample(PROMPT, params)
    assert [(await two.sample(PROMPT, params)).token_ids for _ in range(2)] == [
        completion.token_ids for completion in first
    ]
    other.load_state_dict(state)
    assert (await other.sample(PROMPT, params)).token_ids == third.token_ids
    assert first[0].token_ids != first[1].token_ids


async def test_tokens_are_streamed_on_the_event_loop(make_sampler):
    seen: list[int] = []
    loop = asyncio.get_running_loop()

    def on_token(token: int) -> None:
        assert asyncio.get_running_loop() is loop
        seen.append(token)

    completion = await make_sampler().sample(PROMPT, GREEDY, on_token)
    assert seen == completion.token_ids


async def test_new_weights_change_the_answers_and_drop_the_cache(model, make_sampler):
    sampler, updated = make_sampler(), tiny_model("llama", seed=1)
    before = await sampler.sample(PROMPT, GREEDY)
    await sampler.load_weights(updated.state_dict(), version=3)
    after = await sampler.sample(PROMPT, GREEDY)
    assert before.token_ids == reference_greedy(model, PROMPT, 30)
    assert after.token_ids == reference_greedy(updated, PROMPT, 30)
    assert (before.version, after.version, after.cached_tokens) == (0, 3, 0)
    assert sampler.version == 3


def test_a_tied_head_and_its_embedding_are_one_tensor_without_our_product(monkeypatch):
    given, tied = [], tiny_model("qwen2")
    monkeypatch.setattr(decoder, "suits_product", lambda *_: False)
    monkeypatch.setattr(decoder, "pack_linear", lambda weight, *_, **__: given.append(weight))
    made = decoder.Decoder(
        tied.config, dtype=torch.float32, device=torch.device("cpu"), max_length=8
    )
    made.load(dict(tied.named_parameters()))
    assert made._embed.keywords["weight"] is given[0]


async def test_a_sampler_that_rests_holds_no_weights_and_answers_with_the_next(make_sampler):
    sampler, updated = make_sampler(), tiny_model("llama", seed=1)
    before = await sampler.sample(PROMPT, GREEDY)
    head = sampler._runner.decoder._head
    tied = isinstance(head, Product)
    weight = head._strips if tied else sampler._runner.decoder._embed.keywords["weight"]
    embedding = StorageWeakRef(weight.untyped_storage())
    del head, weight
    await sampler.rest()
    assert embedding.expired()
    waiting = asyncio.create_task(sampler.sample(PROMPT, GREEDY))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await sampler.load_weights(updated.state_dict(), version=1)
    after = await waiting
    assert (before.version, after.version) == (0, 1)
    assert after.token_ids == reference_greedy(updated, PROMPT, 30)


async def test_a_sampler_that_rests_can_be_closed(make_sampler):
    sampler = make_sampler()
    await sampler.rest()
    waiting = asyncio.create_task(sampler.sample(PROMPT, GREEDY))
    await asyncio.sleep(0.01)
    await sampler.close()
    with pytest.raises(RuntimeError, match="the sampler is closed"):
        await waiting


async def test_a_request_keeps_the_weights_it_began_with(model, make_sampler):
    sampler, updated = make_sampler(), tiny_model("llama", seed=1)
    started = asyncio.Event()
    running = asyncio.create_task(
        sampler.sample(
            PROMPT, SamplingParams(max_tokens=200, temperature=0.0), lambda _: started.set()
        )
    )
    await started.wait()
    loading = asyncio.create_task(sampler.load_weights(updated.state_dict(), version=1))
    await asyncio.sleep(0)
    late = await sampler.sample(PROMPT, GREEDY)
    assert running.done()
    assert loading.done()
    assert (await running).token_ids == reference_greedy(model, PROMPT, 200)
    assert (await running).version == 0
    assert late.token_ids == reference_greedy(updated, PROMPT, 30)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3-window"])  # a head apart, tied, norms
async def test_weights_that_change_where_they_came_from_are_not_seen(tokenizer, family, dtype):
    learner = tiny_model(family).to(dtype)
    sampler = TorchSampler(
        learner.config, learner.state_dict(), tokenizer, dtype=dtype, cache_bytes=2**22
    )
    before = await sampler.sample(PROMPT, GREEDY)
    await sampler.load_weights(dict(learner.named_parameters()), version=1)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.zero_()
    after = await sampler.sample(PROMPT, GREEDY)
    await sampler.close()
    assert after.token_ids == before.token_ids


async def test_a_closed_sampler_fails_what_it_has_and_what_comes(make_sampler):
    sampler = make_sampler()
    pending = asyncio.create_task(sampler.sample(PROMPT, SamplingParams(max_tokens=230)))
    await asyncio.sleep(0.01)
    await sampler.close()
    for request in (pending, sampler.sample(PROMPT, GREEDY)):
        with pytest.raises(RuntimeError, match="the sampler is closed"):
            await request


async def test_a_fault_in_the_engine_reaches_every_caller(model, make_sampler):
    sampler = make_sampler()
    broken = {name: w for name, w in model.state_dict().items() if "mlp" not in name}
    pending = asyncio.create_task(sampler.load_weights(broken, version=1))
    with pytest.raises(RuntimeError, match="the sampler failed"):
        await pending
    with pytest.raises(RuntimeError, match="the sampler failed") as caught:
        await sampler.sample(PROMPT, GREEDY)
    assert caught.value.__cause__ is not None


async def test_weights_that_are_not_numbers_stop_the_sampler(model, make_sampler):
    sampler = make_sampler()
    nan = {name: torch.full_like(weight, torch.nan) for name, weight in model.state_dict().items()}
    await sampler.load_weights(nan, version=1)
    with pytest.raises(RunError, match="not finite"):
        await sampler.sample(PROMPT, SamplingParams(max_tokens=3))
