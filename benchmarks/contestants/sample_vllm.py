"""Samples with vLLM on the CPU, in process, with its prefix cache."""

from __future__ import annotations

import os

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}

from channel import Channel, Message, Timer


def main() -> None:
    """Load and serve."""
    channel = Channel()
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(channel.settings["cache_bytes"] // 2**30)  # GiB
    import torch
    import vllm  # reads its variables now

    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    model = vllm.LLM(
        channel.settings["model"],
        dtype="bfloat16" if bf16 else "float32",
        max_model_len=channel.settings["max_length"],
        enforce_eager=True,
        enable_prefix_caching=True,
    )
    engine = model.llm_engine
    served = 0

    def work(request: Message) -> Message:
        nonlocal served
        params = vllm.SamplingParams(
            temperature=1.0, max_tokens=request["new"], ignore_eos=True, detokenize=False
        )
        conversations = [iter(turns) for turns in request["conversations"]]
        tokens: list[list[int]] = [[] for _ in conversations]
        running: dict[str, int] = {}
        sampled = 0

        def ask(rollout: int) -> None:
            """Ask for the next turn, if there is one."""
            nonlocal served
            observation = next(conversations[rollout], None)
            if observation is None:
                return
            tokens[rollout] += observation
            served += 1
            running[str(served)] = rollout
            engine.add_request(str(served), {"prompt_token_ids": [*tokens[rollout]]}, params)

        with Timer() as timer:
            for rollout in range(len(conversations)):
                ask(rollout)
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        rollout = running.pop(output.request_id.partition("-")[0])
                        answer = output.outputs[0].token_ids
                        sampled += len(answer)
                        tokens[rollout] += answer
                        ask(rollout)
        return {"seconds": timer.seconds, "tokens": sampled}

    channel.serve(work)


if __name__ == "__main__":
    main()
