"""Samples with vLLM on the CPU, in process."""

from __future__ import annotations

import os

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}

import vllm
from channel import Channel, Message, Timer


def main() -> None:
    """Load and serve."""
    channel = Channel()
    model = vllm.LLM(
        channel.settings["model"],
        dtype="bfloat16",
        max_model_len=1024,
        enforce_eager=True,
    )

    def work(request: Message) -> Message:
        params = vllm.SamplingParams(
            temperature=1.0, max_tokens=request["new"], ignore_eos=True, detokenize=False
        )
        prompts = [{"prompt_token_ids": prompt} for prompt in request["prompts"]]
        with Timer() as timer:
            outputs = model.generate(prompts, params, use_tqdm=False)
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        return {"seconds": timer.seconds, "tokens": tokens}

    channel.serve(work)


if __name__ == "__main__":
    main()
