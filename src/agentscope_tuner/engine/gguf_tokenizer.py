"""A tokenizer as GGUF has it: byte-level BPE, with the name of how text is split before it."""

from __future__ import annotations

import json
import re
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.errors import InputError

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {_QWEN2: "qwen2", _QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|"): "llama-bpe"}
"""llama.cpp's names for regular expressions by which text is split."""


def write_tokenizer(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocabulary: int
) -> None:
    """Write the tokenizer, with `vocabulary` tokens: what the model has more than it is padding.

    Raises InputError if it is of another kind than byte-level BPE, or splits text in a way that
    has no name there.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    tree: dict[str, Any] = json.loads(fast.to_str()) if fast is not None else {}
    kind = tree["model"]["type"] if tree else type(tokenizer).__name__
    if kind != "BPE":
        raise InputError(
            f"This model's tokenizer ({kind}) cannot be written as GGUF: only "
            "byte-level BPE can. Export it as a Hugging Face directory (--format hf)."
        )
    split = _split_name(tree["pre_tokenizer"], tree["normalizer"])
    texts = {index: text for text, index in tree["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, TokenType.NORMAL)
    for added in tree["added_tokens"]:
        texts[added["id"]] = added["content"]
        special = added["special"]
        kinds[added["id"]] = TokenType.CONTROL if special else TokenType.USER_DEFINED
    ids = range(vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list([texts.get(index, f"[PAD{index}]") for index in ids])
    writer.add_token_types([kinds.get(index, TokenType.UNUSED) for index in ids])
    merges = tree["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    for name in ("bos", "eos", "unk", "pad"):
        index = getattr(tokenizer, f"{name}_token_id", None)
        if index is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    first = tokenizer("a")["input_ids"][0]
    writer.add_add_bos_token(first == tokenizer.bos_token_id)
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)


def _split_name(splitter: dict[str, Any] | None, normalizer: dict[str, Any] | None) -> str:
    parts = (splitter or {}).get("pretokenizers") or [splitter or {}]
    kinds = [part.get("type") for part in parts]
    if normalizer is None or normalizer.get("type") == "NFC":
        if kinds == ["ByteLevel"] and parts[0]["use_regex"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"]:
            return "smollm"
        if kinds == ["Split", "ByteLevel"]:
            pattern = re.sub(r"\s+$", "", parts[0]["pattern"].get("Regex", ""))
            if pattern in _SPLITS:
                return _SPLITS[pattern]
    raise InputError(
        "This model's tokenizer splits text in a way that llama.cpp has no name for here "
        f"({', '.join(map(str, kinds))}): export it as a Hugging Face directory (--format hf)."
    )
