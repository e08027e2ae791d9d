"""`PromptTuneConfig`: AgentScope's fields and defaults, and two of our own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agentscope_tuner.config.arguments import Arguments, TunerModelConfig


class PromptTuneConfig(Arguments):
    """How a prompt is looked for."""

    lm_model_name: str = Field(
        default="dashscope/qwen-plus",
        description="The model that proposes prompts, as provider/model: dashscope or openai, with "
        "the provider's key in its environment variable; proposer goes before it.",
    )
    optimization_level: Literal["light", "medium", "heavy"] | None = Field(
        default="light",
        description="Prompts to try and tasks to try them on: 6 on 100, 12 on 300, 18 on "
        "1000 at most; None: light.",
    )
    eval_display_progress: bool = Field(default=True, description="Whether to show progress.")
    eval_display_table: int = Field(
        default=5,
        ge=0,
        description="Held-out tasks to show in the end, with both answers' rewards.",
    )
    eval_num_threads: int = Field(default=16, gt=0, description="Tasks under way at once.")
    compare_performance: bool = Field(
        default=True, description="Whether the first prompt is evaluated on eval_dataset, too."
    )
    proposer: TunerModelConfig | None = Field(
        default=None,
        description="The model that proposes prompts; None: lm_model_name says it, or it is "
        "the model that the workflow is given.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the tasks' order and of what is sampled here."
    )
