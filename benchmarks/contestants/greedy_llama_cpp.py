"""Reads a GGUF file with llama.cpp, and says the likeliest tokens after some prompts."""

from __future__ import annotations

from itertools import islice

from channel import Channel, Message
from llama_cpp import Llama


def work(request: Message) -> Message:
    """The tokens of each prompt as the file's own tokenizer has them, and `new` after them."""
    # One thread: several wait for each other by turning, which takes for ever on a busy machine.
    model = Llama(request["path"], n_ctx=512, n_threads=1, n_threads_batch=1)
    prompts, answers = [], []
    for prompt in request["prompts"]:
        # A first token is added if the file says so.
        ids = model.tokenize(prompt.encode(), add_bos=True, special=True)
        prompts.append(ids)
        answers.append(list(islice(model.generate(ids, temp=0.0), request["new"])))
    return {"prompts": prompts, "answers": answers}


if __name__ == "__main__":
    Channel().serve(work)
