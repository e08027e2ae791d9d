"""dpo on pairs and cpt on raw text, with a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, tune
from agentscope_tuner.engine import models
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.tuning import Invocation, invoked_as


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def pair(number: int) -> dict[str, Any]:
    question = user(f"{number}?")
    return {"chosen": [question, assistant("yes")], "rejected": [question, assistant("no")]}


def tuned(
    model: Path, algorithm: str, samples: list[dict[str, Any]], *settings: str, steps: int = 3
) -> list[Any]:
    path = Path("samples.jsonl")
    path.write_text("\n".join(map(json.dumps, samples)))
    with invoked_as(Invocation(settings=list(settings))):
        result = tune(
            model=TunerModelConfig(model_path=str(model), max_model_len=64, max_tokens=8),
            train_dataset=DatasetConfig(path=str(path.absolute()), total_steps=steps),
            algorithm=AlgorithmConfig(algorithm_type=algorithm, batch_size=2, learning_rate=1e-2),
            monitor_type="none",
        )
    return read_metrics(result.run_directory / "metrics.jsonl")


def test_dpo_prefers_the_chosen_answers(tiny_model: Path) -> None:
    records = tuned(tiny_model, "dpo", [pair(number) for number in range(2)])
    assert records[0]["policy/loss"] == pytest.approx(0.693147, abs=1e-4)  # nothing is preferred
    assert records[-1]["policy/loss"] < records[0]["policy/loss"]
    assert records[-1]["policy/preferred_fraction"] == 1
    assert records[-1]["policy/margin"] > 0


def test_text_in_a_pair_is_a_message(tiny_model: Path) -> None:
    texts = [{"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(2)]
    messages = [pair(number) for number in range(2)]
    told, written = (tuned(tiny_model, "dpo", samples, steps=1) for samples in (texts, messages))
    assert told[0]["train/tokens"] == written[0]["train/tokens"]


def test_cpt_reads_every_token_but_the_first(tiny_model: Path) -> None:
    records = tuned(tiny_model, "cpt", [{"text": "one two three"}, {"text": "four five six"}])
    assert records[-1]["policy/loss"] < records[0]["policy/loss"]
    files = models.ModelFiles.find(str(tiny_model))
    tokens = [len(files.tokenizer.encode(t)) for t in ("one two three", "four five six")]
    assert records[0]["train/tokens"] == sum(tokens) - 2


def test_the_fields_that_sft_reads_can_be_named(tiny_model: Path) -> None:
    samples = [{"q": f"{n}?", "a": "one two", "response": "no", "messages": "no"} for n in range(2)]
    named = "buffer.explorer_input.taskset.fields={messages: '', prompt: q, response: a}"
    written = [{"messages": [user(f"{n}?"), assistant("one two")]} for n in range(2)]
    told, known = (
        tuned(tiny_model, "sft", given, *settings, steps=1)
        for given, settings in ((samples, [named]), (written, []))
    )
    assert told[0]["train/tokens"] == known[0]["train/tokens"] > 0


def test_the_field_that_cpt_reads_can_be_named(tiny_model: Path) -> None:
    key = "buffer.explorer_input.taskset.fields.text=body"
    samples = [{"body": "one two three", "text": "no"}, {"body": "four five", "text": "no"}]
    [record] = tuned(tiny_model, "cpt", samples, key, steps=1)
    tokenizer = models.ModelFiles.find(str(tiny_model)).tokenizer
    assert record["train/tokens"] == sum(len(tokenizer.encode(s["body"])) - 1 for s in samples)
    with pytest.raises(InputError, match=r"sft has no use for .*fields.text; leave it out"):
        tuned(tiny_model, "sft", samples, key)


@pytest.mark.parametrize(
    ("algorithm", "bad", "why"),
    [
        ("dpo", {"chosen": [assistant("a")], "rejected": [assistant("b")]}, "no common prompt"),
        ("dpo", {"chosen": [user("x"), assistant("a")]}, "needs 'rejected'"),
        ("dpo", {**pair(1), "rejected": pair(1)["chosen"]}, "are the same"),
        ("dpo", {**pair(1), "rejected": [user("1?"), user("no")]}, "part at an assistant message"),
        ("cpt", {"words": "one"}, "has no text in its field 'text'"),
        ("cpt", {"text": "word " * 200}, "at most max_model_len"),
    ],
)
def test_a_bad_sample_is_named_before_anything_is_loaded(
    algorithm: str, bad: dict[str, Any], why: str, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    for file in tiny_model.iterdir():
        content = b"" if file.suffix == ".safetensors" else file.read_bytes()  # nothing to load
        (tmp_path / "model" / file.name).write_bytes(content)
    good = pair(0) if algorithm == "dpo" else {"text": "one two"}
    with pytest.raises(InputError, match=rf"Sample 1 of the dataset.*{why}"):
        tuned(tmp_path / "model", algorithm, [good, bad])


def test_a_prompt_may_stand_apart_and_its_answers_carry_no_loss(tiny_model: Path) -> None:
    history = [user("a?"), assistant("a"), user("b?")]
    apart = {"prompt": history, "chosen": [assistant("yes")], "rejected": [assistant("no")]}
    alone = {
        "chosen": [user("a?"), assistant("yes")],
        "rejected": [user("a?"), assistant("no")],
    }
    counts = [tuned(tiny_model, "dpo", [s], steps=1)[0]["train/tokens"] for s in (apart, alone)]
    assert counts[0] == counts[1]
