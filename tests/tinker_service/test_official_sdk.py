"""The small service is one that the official SDK accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import tinker
import torch
from small_tinker import MOST_DATA, Service
from tinker import types
from tinker_adapters import prompt_logprobs

PROMPT = [5, 17, 3]
LEARNT = [5, 17, 3, 40, 41]


def datum(weight: float) -> types.Datum:
    """Learn the last two tokens of LEARNT."""
    return types.Datum(
        model_input=types.ModelInput.from_ints(LEARNT[:-1]),
        loss_fn_inputs={
            "target_tokens": LEARNT[1:],
            "weights": [0.0, 0.0, weight, weight],
        },
    )


@pytest.fixture
def training(client: tinker.ServiceClient, tiny_model: Path) -> tinker.TrainingClient:
    return client.create_lora_training_client(str(tiny_model), rank=4, seed=0).result()


def sampler(client: tinker.ServiceClient, **source: str) -> tinker.SamplingClient:
    return client.create_sampling_client(**source).result()


def test_it_lists_its_models(service: Service, tiny_model: Path) -> None:
    rest = tinker.RestClient(base_url=service.url)
    [model] = rest.get_server_capabilities().result().supported_models
    assert model.model_name == str(tiny_model)
    assert model.max_context_length == 512


def test_a_step_makes_what_is_learnt_likelier(
    client: tinker.ServiceClient, training: tinker.TrainingClient
) -> None:
    before = training.forward_backward([datum(1.0)], "cross_entropy")
    step = training.optim_step(types.AdamParams(learning_rate=1e-2))
    after = training.forward([datum(1.0)], "cross_entropy")
    step.result()
    assert after.result().metrics["loss:sum"] < before.result().metrics["loss:sum"]
    saved = training.save_weights_for_sampler("learnt").result()
    tuned = sampler(client, model_path=saved.path)
    logprobs = tuned.compute_logprobs(types.ModelInput.from_ints(LEARNT)).result()
    assert logprobs[0] is None
    assert -sum(logprobs[-2:]) == pytest.approx(after.result().metrics["loss:sum"], abs=1e-4)


def test_the_gradient_of_a_custom_loss_is_that_of_torch(
    service: Service, training: tinker.TrainingClient
) -> None:
    def squared(
        data: list[types.Datum], logprobs: list[torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        return sum((values**2).sum() for values in logprobs), {"custom": 1.0}

    found = training.forward_backward_custom([datum(0.0), datum(0.0)], squared).result()
    run = service.trainings[training.model_id].run
    got = {name: weight.grad.clone() for name, weight in run.weights.items()}
    run.optimizer.zero_grad()
    logits = run.model(input_ids=torch.tensor([LEARNT[:-1]])).logits[0]
    logp = torch.log_softmax(logits, 1).gather(1, torch.tensor(LEARNT[1:])[:, None])
    loss = 2 * (logp**2).sum()
    loss.backward()
    assert found.metrics["custom"] == 1.0
    assert found.metrics["loss:sum"] == pytest.approx(loss.item(), rel=1e-5)
    for name, weight in run.weights.items():
        torch.testing.assert_close(got[name], weight.grad, rtol=1e-4, atol=1e-6)


def test_samples_repeat_with_their_seed_and_have_the_models_logprobs(
    client: tinker.ServiceClient, service: Service, tiny_model: Path
) -> None:
    base = sampler(client, base_model=str(tiny_model))
    params = types.SamplingParams(max_tokens=4, seed=3, stop=[0])
    prompt = types.ModelInput.from_ints(PROMPT)
    one, two, other = (
        base.sample(prompt, 1, asked, topk_sample_logprobs=2).result().sequences[0]
        for asked in (params, params, params.model_copy(update={"seed": 4}))
    )
    assert one.tokens == two.tokens != other.tokens
    assert one.stop_reason == "length"
    expected = prompt_logprobs(service.bases[str(tiny_model)], PROMPT + one.tokens)[3:]
    assert one.logprobs == pytest.approx(expected, abs=1e-4)
    assert one.topk_logprobs is not None
    assert [len(top) for top in one.topk_logprobs if top] == [2] * 4
    stopped = params.model_copy(update={"stop": [one.tokens[1]]})
    ended = base.sample(prompt, 1, stopped).result().sequences[0]
    assert (ended.tokens, ended.stop_reason) == (one.tokens[:2], "stop")


def test_training_goes_on_from_a_saved_state(
    client: tinker.ServiceClient, training: tinker.TrainingClient
) -> None:
    def steps(training: tinker.TrainingClient, number: int) -> float:
        for _ in range(number):
            training.forward_backward([datum(1.0)], "cross_entropy")
            training.optim_step(types.AdamParams(learning_rate=1e-2))
        return training.forward([datum(1.0)], "cross_entropy").result().metrics["loss:sum"]

    steps(training, 1)
    path = training.save_state("one").result().path
    resumed = client.create_training_client_from_state_with_optimizer(path).result()
    assert steps(resumed, 1) == steps(training, 1)


def test_many_data_arrive_in_pieces_and_are_put_in_order(
    training: tinker.TrainingClient,
) -> None:
    weights = range(2 * MOST_DATA + 1)
    out = training.forward([datum(float(n)) for n in weights], "cross_entropy").result()
    assert len(out.loss_fn_outputs) == len(weights)
    one = training.forward([datum(1.0)], "cross_entropy").result().metrics["loss:sum"]
    assert out.metrics["loss:sum"] == pytest.approx(one * sum(weights), rel=1e-4)


def test_what_is_not_served_is_said(
    client: tinker.ServiceClient, training: tinker.TrainingClient
) -> None:
    with pytest.raises(tinker.RequestFailedError, match="loss_fn ppo is not served"):
        training.forward([datum(1.0)], "ppo").result()
    with pytest.raises(tinker.UnprocessableEntityError, match="there is no model other"):
        client.create_lora_training_client("other").result()
