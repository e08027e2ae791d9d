"""`astuner export`: what others load."""

from __future__ import annotations

from pathlib import Path

import torch
from command_line import Astuner
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

RUN = Path("checkpoints/P/first")
LORA = ("--set", "model.lora.rank=4", "--set", "explorer.rollout_model.dtype=float32")


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(directory, dtype="auto").state_dict()


def test_a_run_becomes_a_plain_model(astuner: Astuner, tuned: Path) -> None:
    ended = astuner("export", tuned, "out/model")
    assert ended.code == 0
    assert ended.out == f"{tuned}/global_step_2 is exported to out/model\n"
    exported = Path("out/model")
    assert not [path for path in exported.iterdir() if path.is_dir()]
    torch.testing.assert_close(weights(exported), weights(tuned / "global_step_2"), rtol=0, atol=0)
    assert AutoTokenizer.from_pretrained(exported).chat_template
    assert [path.name for path in Path("out").iterdir()] == ["model"]


def test_a_checkpoint_and_what_is_exported_have_a_model_card(
    astuner: Astuner, tuned: Path, tiny_model: Path
) -> None:
    card = (tuned / "global_step_2" / "README.md").read_text()
    assert "# first, step 2" in card
    assert "A success is an answer of an even number of letters" in card  # the judge's source
    assert "| `test`, 4 tasks |" in card
    assert astuner("export", tuned, "out").code == 0
    assert Path("out/README.md").read_text() == card
    # A model that no run has made has none.
    assert astuner("export", tiny_model, "plain").code == 0
    assert not Path("plain/README.md").exists()


def test_a_card_may_be_written_on(astuner: Astuner, tuned: Path) -> None:
    with (tuned / "global_step_2" / "README.md").open("a") as card:
        card.write("My own words.\n")
    ended = astuner("export", tuned, "out")
    assert ended.code == 0, ended.err
    assert "global_step_2 is exported" in ended.out


def test_the_precision_can_be_chosen(astuner: Astuner, tuned: Path) -> None:
    assert astuner("export", tuned / "global_step_2", "half", "--dtype", "bfloat16").code == 0
    original, exported = weights(tuned / "global_step_2"), weights(Path("half"))
    assert {tensor.dtype for tensor in exported.values()} == {torch.bfloat16}
    torch.testing.assert_close(
        exported, {name: tensor.bfloat16() for name, tensor in original.items()}, rtol=0, atol=0
    )


def test_adapters_are_saved_by_themselves_and_exported_merged(
    astuner: Astuner, program: Path, tiny_model: Path
) -> None:
    astuner("run", program, *LORA)
    astuner("export", RUN, "merged")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapted = PeftModel.from_pretrained(base, str(RUN / "global_step_2" / "adapter"))
    by_peft = adapted.merge_and_unload().state_dict()
    exported = weights(Path("merged"))
    torch.testing.assert_close(exported, by_peft, rtol=0, atol=1e-6)
    changed = [not torch.equal(exported[name], w) for name, w in weights(tiny_model).items()]
    assert any(changed)
    assert not Path("merged/adapter").exists()
    assert astuner("export", RUN, "alone", "--format", "adapter").code == 0
    alone = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), "alone")
    torch.testing.assert_close(alone.merge_and_unload().state_dict(), by_peft, rtol=0, atol=0)


def test_nothing_is_overwritten(astuner: Astuner, program: Path, tiny_model: Path) -> None:
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    ended = astuner("export", tiny_model, "taken")
    assert ended.code == 2
    assert "not empty" in ended.err
    assert [path.name for path in Path("taken").iterdir()] == ["notes.txt"]


def test_a_run_without_a_checkpoint_is_bad_input(astuner: Astuner, program: Path) -> None:
    program.write_text(program.read_text().replace("question", "no such key"))
    assert astuner("run", program).code == 1
    ended = astuner("export", RUN, "out")
    assert ended.code == 2
    assert "has no checkpoint yet" in " ".join(ended.err.split())
    assert not Path("out").exists()


def test_a_gguf_file_says_that_it_was_loaded_again(astuner: Astuner, tuned: Path) -> None:
    ended = astuner("export", tuned, "out", "--format", "gguf", "--ollama")
    assert ended.code == 0, ended.err
    assert ended.out == (
        f"{tuned}/global_step_2 is exported to out/out.gguf\n"
        "loaded again, 100% of its greedy tokens are the original's\n"
    )
    files = {"out.gguf", "Modelfile", "README.md", "curve.svg"}
    assert {path.name for path in Path("out").iterdir()} == files


def test_an_option_of_another_format_is_refused(astuner: Astuner, tuned: Path) -> None:
    ended = astuner("export", tuned, "out", "--quantize", "q8_0")
    assert ended.code == 2
    assert "--quantize is for --format gguf, not for hf" in " ".join(ended.err.split())
