"""The learner's verbs: gradients, updates, adapters, files, resuming."""

import copy
import math
from dataclasses import replace

import psutil
import pytest
import torch
from peft import PeftModel
from tiny_training import (
    VOCABULARY,
    forward_backward,
    logprobs,
    make_learner,
    make_model,
    random_groups,
)
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.training.columns import FrozenModel
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.samples import TrainingSample, as_group

GRPO = get_algorithm()
LORA = LoraSettings(rank=4, alpha=8)


def train(learner, steps=3, first=0, algorithm=GRPO):
    for step in range(first, first + steps):
        forward_backward(learner, random_groups(seed=step), algorithm)
        metrics = learner.optim_step(at=step)
    return metrics


def snapshot(learner):
    return {name: weight.clone() for name, weight in learner._masters.by_name.items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Updates


def test_an_update_is_adamw_on_the_clipped_gradient(llama):
    settings = OptimizerSettings(lr=1e-2, weight_decay=0.1, grad_clip=0.5)
    learner, plain = make_learner(llama, optimizer=settings), copy.deepcopy(llama)
    forward_backward(learner, random_groups(seed=0), GRPO)
    for name, parameter in plain.named_parameters():
        parameter.grad = learner._masters.by_name[name].grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
    torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.1).step()
    metrics = learner.optim_step(at=0)
    assert metrics == {"policy/grad_norm": pytest.approx(norm.item()), "policy/lr": 1e-2}
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(learner.weights()[name], parameter.detach())


def test_gradients_of_two_batches_add_up(llama):
    one, other = random_groups(seed=0), random_groups(seed=1)
    both, first, second = make_learner(llama), make_learner(llama), make_learner(llama)
    forward_backward(both, one, GRPO)
    forward_backward(both, other, GRPO)
    forward_backward(first, one, GRPO)
    forward_backward(second, other, GRPO)
    for name, weight in both._masters.by_name.items():
        expected = first._masters.by_name[name].grad + second._masters.by_name[name].grad
        torch.testing.assert_close(weight.grad, expected)
        assert not torch.allclose(weight.grad, 2 * first._masters.by_name[name].grad)


def test_tokens_without_advantage_count_in_the_mean_but_are_not_computed(llama):
    groups = random_groups(seed=3, groups=2)
    for rollout in groups[1].rollouts:
        rollout.advantage = 0.0
    learner, alone = make_learner(llama), make_learner(llama)
    both = forward_backward(learner, groups, GRPO)
    one = forward_backward(alone, groups[:1], GRPO)
    assert both["train/packed_tokens"] == one["train/packed_tokens"]
    assert both["train/skipped_tokens"] == both["train/tokens"] - one["train/tokens"] > 0
    share = one["train/tokens"] / both["train/tokens"]
    assert both["policy/loss"] == pytest.approx(one["policy/loss"] * share)
    for name, weight in learner._masters.by_name.items():
        torch.testing.assert_close(weight.grad, alone._masters.by_name[name].grad * share)


def test_without_any_advantage_the_weights_stay_and_the_schedule_goes_on(llama):
    learner = make_learner(llama, optimizer=OptimizerSettings(lr=1.0, warmup_steps=2))
    groups = random_groups(seed=0)
    for rollout in (r for g in groups for r in g.rollouts):
        rollout.advantage = None
    before = snapshot(learner)
    assert forward_backward(learner, groups, GRPO)["train/tokens"] == 0
    assert learner.optim_step(at=0) == {"policy/grad_norm": 0.0, "policy/lr": 0.5}
    assert learner.optim_step(at=1)["policy/lr"] == 1.0
    assert equal(before, snapshot(learner))


def test_a_gradient_that_is_not_finite_ends_the_run(llama):
    learner = make_learner(llama)
    groups = random_groups(seed=0)
    groups[0].rollouts[0].advantage = math.nan
    forward_backward(learner, groups, GRPO)
    with pytest.raises(RunError, match="gradient of step 1 is not finite"):
        learner.optim_step(at=0)


def test_the_mismatch_with_the_sampler_is_measured(llama):
    learner = make_learner(llama)
    groups = random_groups(seed=0)
    members = [r for g in groups for r in g.rollouts]
    for (number, segment, index), value in logprobs(learner, groups).items():
        members[number].trajectory.segments[segment].sampled.logprobs[index] = value
    exact = forward_backward(learner, groups, GRPO)
    assert exact["policy/kl_sampler_learner"] == pytest.approx(0, abs=1e-6)
    assert exact["policy/ratio_mean"] == pytest.approx(1, abs=1e-5)
    for segment in (s for r in members for s in r.trajectory.sampled_segments()):
        segment.sampled.logprobs = [value + 0.1 for value in segment.sampled.logprobs]
    off = forward_backward(learner, groups, GRPO)
    assert off["policy/kl_sampler_learner"] == pytest.approx(math.exp(-0.1) - 1 + 0.1, rel=1e-3)
    assert off["policy/ratio_max"] == pytest.approx(math.exp(-0.1), rel=1e-4)


def test_a_token_far_off_shows_in_the_mismatch_with_all_its_weight(llama):
    learner = make_learner(llama)
    groups = random_groups(seed=0)
    (key, value), *others = logprobs(learner, groups).items()
    members = [r for g in groups for r in g.rollouts]
    for (number, segment, index), known in [(key, value - 100), *others]:
        members[number].trajectory.segments[segment].sampled.logprobs[index] = known
    metrics = forward_backward(learner, groups, GRPO)
    tokens = 1 + len(others)
    assert metrics["policy/kl_sampler_learner"] == pytest.approx(math.exp(100) / tokens, rel=1e-3)
    assert metrics["policy/ratio_max"] == pytest.approx(math.exp(100), rel=1e-3)


def test_later_updates_on_a_batch_are_relative_to_the_learner_before_the_first(llama):
    algorithm = get_algorithm(algorithm_type="grpo", importance_correction="truncated")
    learner = make_learner(llama, pack_size=PackSize(25))
    groups = random_groups(seed=0)
    batch = Batch(groups)
    learner.forward(batch, {"proximal"})
    algorithm.prepare(batch)
    assert learner.forward_backward(batch, algorithm)["policy/clip_fraction"] == 0
    learner.optim_step(at=0)
    assert learner.forward_backward(batch, algorithm)["policy/clip_fraction"] > 0


def test_learning_raises_what_was_rewarded(llama):
    learner = make_learner(llama)
    groups = random_groups(seed=0)
    for rollout in (r for g in groups for r in g.rollouts):
        rollout.advantage = 1.0
    before = sum(logprobs(learner, groups).values())
    for _ in range(5):
        forward_backward(
            learner, groups, get_algorithm(algorithm_type="grpo", importance_correction="truncated")
        )
        learner.optim_step(at=0)
    assert sum(logprobs(learner, groups).values()) > before


def test_an_unknown_architecture_is_refused():
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=8))
    with pytest.raises(InputError, match="type 'gpt2'; known types are: gemma3_text, llama"):
        LocalLearner(model, optimizer=OptimizerSettings())


def test_capped_logits_are_refused_not_ignored():
    model = make_model("gemma3")
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(InputError, match="final_logit_softcapping"):
        make_learner(model)


# Schedules


def test_schedules():
    constant = OptimizerSettings(lr=1.0, warmup_steps=4)
    assert [constant.lr_at(s) for s in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    cosine = OptimizerSettings(lr=1.0, schedule="cosine", warmup_steps=2, total_steps=10)
    rates = [cosine.lr_at(s) for s in (0, 1, 2, 6, 10, 50)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0, 0.0])
    above = replace(cosine, min_lr_ratio=0.2)
    assert [above.lr_at(s) for s in (0, 2, 6, 10)] == pytest.approx([0.5, 1.0, 0.6, 0.2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "linear"}, "constant, cosine"),
        ({"schedule": "cosine"}, "needs total_steps"),
        ({"grad_clip": 0.0}, "grad_clip is 0.0"),
        ({"lr": -1.0}, "must not be negative"),
    ],
)
def test_senseless_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        OptimizerSettings(**arguments)


# Mixed precision


def test_bfloat16_compute_is_close_to_float32_and_keeps_small_updates(llama):
    groups = random_groups(seed=0)
    for _, parameter in llama.named_parameters():
        parameter.data.mul_(0.5)  # keep the tiny model's numbers in bfloat16's comfort
    exact, low = make_learner(llama), make_learner(llama, compute_dtype=torch.bfloat16)
    algorithm = get_algorithm(algorithm_type="grpo", importance_correction="truncated")
    for learner in (exact, low):
        forward_backward(learner, groups, algorithm)
    a = torch.cat([w.grad.flatten() for w in exact._masters.by_name.values()])
    b = torch.cat([w.grad.flatten() for w in low._masters.by_name.values()])
    assert torch.cosine_similarity(a, b, dim=0) > 0.99
    assert all(w.grad.dtype == torch.float32 for w in low._masters.by_name.values())
    before = snapshot(low)
    for group in low._updates.optimizer.param_groups:
        group["lr"] = 0.0
    low.settings = OptimizerSettings(lr=1e-7)
    low.optim_step(at=0)
    assert not equal(before, snapshot(low))
    assert {w.dtype for w in low.weights().values()} == {torch.bfloat16}


# Files and resuming


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_loads_with_its_full_precision(model, dtype, tmp_path):
    learner = make_learner(model, compute_dtype=dtype)
    train(learner, 2)
    learner.save_model(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.dtype == torch.float32
    assert equal(dict(loaded.named_parameters()), snapshot(learner))
    assert loaded.generate(torch.tensor([[5, 6]]), max_new_tokens=3).shape[1] > 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lora", [None, LORA])
def test_a_resumed_learner_ends_bit_identical(llama, dtype, lora, tmp_path):
    settings = OptimizerSettings(lr=1e-2, warmup_steps=3)

    def learner_on(model):
        torch.manual_seed(1)
        return make_learner(model, compute_dtype=dtype, lora=lora, optimizer=settings)

    whole = learner_on(llama)
    train(whole, 5)

    first = learner_on(llama)
    train(first, 2)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    start = llama
    if lora is None:
        first.save_model(tmp_path / "model")
        start = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    second = learner_on(start)
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    train(second, 3, first=2)
    assert second.step == whole.step
    assert equal(snapshot(whole), snapshot(second))
    assert equal(whole.weights(), second.weights())


# Adapters


def test_adapters_train_alone_and_merge_into_the_plain_weights(model, tmp_path):
    base = {name: p.clone() for name, p in model.named_parameters()}
    learner = make_learner(model, lora=LORA)
    assert equal(learner.weights(), {n: p.detach() for n, p in base.items()})
    train(learner, 2)
    assert all("lora_" in name for name in learner._masters.by_name)
    frozen = {
        name.replace(".base_layer.", "."): p
        for name, p in learner.model.named_parameters()
        if "lora_" not in name
    }
    assert equal(frozen, base)

    merged = copy.deepcopy(model)
    merged.load_state_dict(learner.weights(), strict=False)
    groups = random_groups(seed=9)
    assert logprobs(make_learner(merged), groups) == pytest.approx(
        logprobs(learner, groups), abs=1e-4
    )

    learner.save_model(tmp_path / "merged")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert equal(
        {n: p.detach() for n, p in loaded.named_parameters()},
        learner.weights(),
    )
    learner.save_adapter(tmp_path / "adapter")
    adapted = PeftModel.from_pretrained(copy.deepcopy(model), str(tmp_path / "adapter"))
    exported = adapted.merge_and_unload()
    for name, weight in exported.named_parameters():
        torch.testing.assert_close(weight.detach(), learner.weights()[name])


def test_an_adapter_is_merged_when_its_weight_is_asked_for(llama):
    learner = make_learner(llama, lora=LORA)
    weights, name = learner.weights(), "model.layers.0.mlp.up_proj.weight"
    before = weights[name]
    train(learner, 1)
    assert not torch.equal(weights[name], before)
    assert torch.equal(weights[name], learner.weights()[name])


@pytest.mark.parametrize("large", [True, False])
def test_free_memory_is_given_back_before_large_weights_are_handed_over(llama, monkeypatch, large):
    """Which makes room that can be seen from outside."""
    monkeypatch.setattr(f"{LocalLearner.__module__}.LARGE_BYTES", 1 if large else 10**9)
    learner = make_learner(llama)
    # What lies between is held, so that the pieces do not become one that ends the heap.
    pieces = [torch.ones(2**20) for _ in range(64)]
    del pieces[::2]
    before = psutil.Process().memory_info().rss
    learner.weights()
    given_back = before - psutil.Process().memory_info().rss
    assert (given_back > 60e6) == large
    del pieces


def test_saving_an_adapter_that_is_not_there_is_refused(llama, tmp_path):
    with pytest.raises(InputError, match="tuned in full"):
        make_learner(llama).save_adapter(tmp_path)


# The reference policy


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_divergence_is_measured_from_the_model_before_training(llama, lora):
    algorithm = get_algorithm(
        algorithm_type="grpo", kl_loss_fn="low_var_kl", kl_loss_fn_args={"kl_coef": 0.5}
    )
    learner = make_learner(llama, lora=lora)
    reference = learner if lora else FrozenModel(copy.deepcopy(llama), dtype=torch.float32)

    def divergence():
        batch = Batch(random_groups(seed=0))
        reference.forward(batch, {"reference"})
        algorithm.prepare(batch)
        return learner.forward_backward(batch, algorithm)["policy/kl_reference"]

    assert divergence() == pytest.approx(0, abs=1e-6)
    learner.optim_step(at=0)
    assert divergence() > 1e-6


def test_a_learner_without_adapters_holds_no_reference(llama):
    with pytest.raises(InputError, match="needs a reference model"):
        make_learner(llama).forward(Batch(random_groups(seed=0)), {"reference"})


# Demonstrations


def test_imitation_reaches_the_demonstrated_tokens_only():
    model = make_model("qwen3")
    samples = [
        TrainingSample([5, 6, 7, 8, 9, 10], [False, False, True, True, False, True]),
        TrainingSample([5, 6, 11, 12], [False, False, True, True]),
    ]
    learner = make_learner(model, optimizer=OptimizerSettings(lr=3e-3))
    with torch.no_grad():
        expected = []
        for sample in samples:
            logprobs = model(torch.tensor([sample.token_ids])).logits[0].log_softmax(-1)
            expected += [
                -logprobs[i - 1, token]
                for i, token in enumerate(sample.token_ids)
                if sample.loss_mask[i]
            ]
    losses = []
    for _ in range(40):
        metrics = forward_backward(
            learner, [as_group(samples)], get_algorithm(algorithm_type="sft")
        )
        losses.append(metrics["policy/loss"])
        learner.optim_step(at=0)
    assert losses[0] == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)
    assert losses[-1] < 0.3 < losses[0]
    assert metrics["train/tokens"] == 5
    assert "policy/kl_sampler_learner" not in metrics


def test_a_sample_and_its_mask_must_match():
    with pytest.raises(ValueError, match="3 token ids but 2"):
        TrainingSample([1, 2, VOCABULARY - 1], [True, False])
