"""What a Tinker service computes: low-rank adapters over a model, with torch and peft."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

ALPHA = 32
"""The service's own: adapters are scaled by ALPHA / rank."""
LAYERS = {
    "train_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "train_mlp": ("gate_proj", "up_proj", "down_proj"),
    "train_unembed": ("lm_head",),
}


@dataclass(frozen=True)
class Row:
    """One datum: after each token K targets are asked for, and have so much of the loss."""

    tokens_T: Tensor
    targets_TK: Tensor
    weights_TK: Tensor


@dataclass(frozen=True)
class Drawn:
    """What was sampled behind a prompt."""

    tokens: list[int]
    logprobs: list[float]
    stopped: bool
    """By a stop token; else at its length."""
    top: list[list[tuple[int, float]]]
    """The likeliest tokens at each position, as many as were asked for."""


class TrainingRun:
    """Adapters in training, and their optimizer."""

    def __init__(self, base: PreTrainedModel, lora: Mapping[str, Any]) -> None:
        """`lora` has a rank, a seed, and which LAYERS get adapters."""
        self._lora = lora
        targets = [name for key, names in LAYERS.items() if lora[key] for name in names]
        config = LoraConfig(
            r=lora["rank"], lora_alpha=ALPHA, target_modules=targets, task_type="CAUSAL_LM"
        )
        with torch.random.fork_rng():
            if lora.get("seed") is not None:
                torch.manual_seed(lora["seed"])
            self.model: PeftModel = get_peft_model(copy.deepcopy(base), config)
        self.weights = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.weights.values())

    @property
    def rank(self) -> int:
        """Of the adapters."""
        rank: int = self._lora["rank"]
        return rank

    def fresh(self, base: PreTrainedModel) -> TrainingRun:
        """Other adapters of the same form."""
        return TrainingRun(base, self._lora)

    def forward_backward(
        self, rows: Sequence[Row], *, backward: bool
    ) -> tuple[list[Tensor], float]:
        """ln p of the targets of each row [T, K], and the loss: minus their weighted sum."""
        found, total = [], 0.0
        with torch.set_grad_enabled(backward):
            for row in rows:
                logits_TV = self.model(input_ids=row.tokens_T[None]).logits[0]
                logp_TV = torch.log_softmax(logits_TV.float(), 1)
                logprobs_TK = logp_TV.gather(1, row.targets_TK)
                loss = -(logprobs_TK * row.weights_TK).sum()
                if backward:
                    loss.backward()
                found.append(logprobs_TK.detach())
                total += loss.item()
        return found, total

    def optim_step(self, adam: Mapping[str, float]) -> None:
        """One AdamW step, after which there is no gradient."""
        if adam["grad_clip_norm"] > 0:
            torch.nn.utils.clip_grad_norm_(self.weights.values(), adam["grad_clip_norm"])
        for group in self.optimizer.param_groups:
            group |= {
                "lr": adam["learning_rate"],
                "betas": (adam["beta1"], adam["beta2"]),
                "eps": adam["eps"],
                "weight_decay": adam["weight_decay"],
            }
        self.optimizer.step()
        self.optimizer.zero_grad()

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the adapters."""
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    def load(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go on with these adapters."""
        with torch.no_grad():
            for name, values in snapshot.items():
                self.weights[name].copy_(values)

    @contextmanager
    def holding(self, snapshot: Mapping[str, Tensor]) -> Iterator[None]:
        """Have these adapters while the block runs."""
        own = self.snapshot()
        self.load(snapshot)
        try:
            yield
        finally:
            self.load(own)


@torch.no_grad()
def prompt_logprobs(model: torch.nn.Module, prompt: Sequence[int]) -> list[float]:
    """ln p of each token of a prompt; NaN for the first, which follows nothing."""
    ids_T = torch.tensor(prompt)
    logp_TV = torch.log_softmax(model(input_ids=ids_T[None]).logits[0].float(), 1)
    return [torch.nan, *logp_TV[:-1].gather(1, ids_T[1:, None])[:, 0].tolist()]


@torch.no_grad()
def target_logprobs(model: torch.nn.Module, prompt: Sequence[int], targets_TK: Tensor) -> Tensor:
    """ln p of targets behind each token of a prompt but the last [T, K]; 0 where a target is -1."""
    asked_t = (targets_TK >= 0).any(1).nonzero()[:, 0]
    logits_tV = model(input_ids=torch.tensor([prompt]), logits_to_keep=asked_t).logits[0]
    found_TK = torch.zeros(targets_TK.shape)
    targets_tK = targets_TK[asked_t]
    logprobs_tK = torch.log_softmax(logits_tV.float(), 1).gather(1, targets_tK.clamp_min(0))
    found_TK[asked_t] = logprobs_tK.masked_fill(targets_tK < 0, 0.0)
    return found_TK


@torch.no_grad()
def draw(
    model: torch.nn.Module,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    temperature: float,
    stop: Sequence[int],
    seed: int,
    top: int = 0,
) -> Drawn:
    """Sample behind a prompt until a stop token, which belongs to what was sampled."""
    random = torch.Generator().manual_seed(seed)
    drawn = Drawn([], [], False, [])
    ids_1T, cache = torch.tensor([prompt]), None
    for _ in range(max_tokens):
        out = model(input_ids=ids_1T, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        logp_V = torch.log_softmax(out.logits[0, -1].float(), 0)
        if temperature == 0:
            token = int(logp_V.argmax())
        else:
            p_V = torch.softmax(logp_V / temperature, 0)
            token = int(torch.multinomial(p_V, 1, generator=random))
        drawn.tokens.append(token)
        drawn.logprobs.append(logp_V[token].item())
        if top:
            best_K, ids_K = logp_V.topk(top)
            drawn.top.append(list(zip(ids_K.tolist(), best_K.tolist(), strict=True)))
        if token in stop:
            return Drawn(drawn.tokens, drawn.logprobs, True, drawn.top)
        ids_1T = torch.tensor([[token]])
    return drawn
