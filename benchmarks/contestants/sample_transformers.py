"""Samples with transformers: `generate` on a static batch, or its continuous batching."""

from __future__ import annotations

import torch
from channel import Channel, Message, Timer
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

CACHE_PAGES = 1024  # of 16 tokens: room for 64 sequences


def main() -> None:
    """Load and serve."""
    channel = Channel()
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    model = AutoModelForCausalLM.from_pretrained(
        channel.settings["model"],
        dtype=torch.bfloat16 if bf16 else torch.float32,
        attn_implementation="sdpa",
    ).eval()
    paged = ContinuousBatchingConfig(
        page_size=16, num_blocks=CACHE_PAGES, max_batch_tokens=512, use_cuda_graph=False
    )

    def generate(prompts: list[list[int]], settings: GenerationConfig) -> int:
        ids_BT = torch.tensor(prompts)
        out_BT = model.generate(
            ids_BT, attention_mask=torch.ones_like(ids_BT), generation_config=settings
        )
        return out_BT.numel() - ids_BT.numel()

    def generate_batch(prompts: list[list[int]], settings: GenerationConfig) -> int:
        outputs = model.generate_batch(
            prompts,
            generation_config=settings,
            continuous_batching_config=paged,
            progress_bar=False,
        )
        return sum(len(output.generated_tokens) for output in outputs.values())

    sample = generate_batch if channel.settings["continuous"] else generate

    def work(request: Message) -> Message:
        # Without an end token every sequence has the same length.
        settings = GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, max_new_tokens=request["new"], pad_token_id=0
        )
        prompts = [prompt for (prompt,) in request["conversations"]]  # of one turn each
        with Timer() as timer:
            tokens = sample(prompts, settings)
        if tokens != len(prompts) * request["new"]:
            raise RuntimeError(f"only {tokens} tokens were sampled")
        return {"seconds": timer.seconds, "tokens": tokens}

    channel.serve(work)


if __name__ == "__main__":
    main()
