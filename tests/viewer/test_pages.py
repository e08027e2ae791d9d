"""What the pages are made of: found, filtered, sorted and put together from a run's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from made_runs import a_group, make_run, write_steps

from agentscope_tuner.errors import InputError
from agentscope_tuner.rollout.estimate import estimate_reward
from agentscope_tuner.runs.estimates import clustered
from agentscope_tuner.runs.index import index_path
from agentscope_tuner.runs.rollouts import read_frames
from agentscope_tuner.runs.table import RolloutTable
from agentscope_tuner.viewer.filters import parse_filter
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.pages import PAGES


@pytest.fixture
def library(tmp_path: Path) -> Library:
    make_run(tmp_path / "P" / "one")
    make_run(tmp_path / "P" / "two", lr=1e-4)
    return Library(tmp_path)


def page(library: Library, name: str, **query: str):
    content = PAGES[name](library, {"run": "P/one", **query})
    json.dumps(content, allow_nan=False)
    return content


def ids(content) -> list[str]:
    return [line["id"] for line in content["rollouts"]]


def test_runs_show_what_is_their_own_in_the_configuration(library):
    runs = {run["id"]: run for run in page(library, "runs")["runs"]}
    assert runs["P/one"]["differs"] == {"algorithm.optimizer.lr": 1e-5}
    assert runs["P/two"]["differs"] == {"algorithm.optimizer.lr": 1e-4}
    assert runs["P/one"]["best"] == [["test", 0.4, 4]]
    assert len(runs["P/one"]["curve"]) == 4


def test_a_run_has_its_steps_and_evaluations_in_order(library):
    content = page(library, "run")
    assert [(s["step"], s["set"]) for s in content["steps"]] == [
        (1, None),
        (2, None),
        (2, "test"),
        (3, None),
        (4, None),
        (4, "test"),
    ]
    assert content["training"]["steps"] == [1, 2, 3, 4]
    assert content["evaluations"]["values"] == {"eval/test/reward/mean": [0.2, 0.4]}
    assert content["errors"]["test"].keys() == {2, 4}
    meanings = {key: text for s in content["help"] for key, _, text in s["metrics"]}
    assert meanings["reward/mean"] == "mean reward"


def test_a_run_has_what_the_doctor_says(library):
    found = PAGES["findings"](library, {"run": "P/one"})["findings"]
    assert [finding["rule"] for finding in found][:2] == ["failures-workflow", "truncated"]
    assert found[0]["rollouts"] == [{"id": "step1-0-3", "step": 1, "set": None, "says": ""}]


def test_the_error_of_a_mean_is_clustered_by_task_as_evaluate_has_it():
    groups = [a_group(3, n) for n in range(4)]
    for n, group in enumerate(groups):
        group.rollouts[1].reward = n / 3
    rewards = [r.reward for g in groups for r in g.rollouts]
    tasks = np.repeat(np.arange(4), 4)
    values = np.array([np.nan if r is None else r for r in rewards])
    assert clustered(values, tasks).standard_error == pytest.approx(
        estimate_reward(groups).standard_error
    )
    assert np.isnan(clustered(values[:4], tasks[:4]).standard_error)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 72 - 24),
        ("step=1", 12),
        ("reward<0.5 step=1", 6),
        ("reward>=1 step=1", 3),
        ("turns>2", 18 - 6),
        ("failed set:none", 12),
        ("error:workflow set:none", 12),
        ("error:timeout", 0),
        ("error:none set:none", 36),
        ("set:test", 24),
        ("truncated step=1", 3),
        ("began>2026-01-01 step=1", 12),
        ("began>2036-01-01", 0),
        ('"Sorry." step=1', 3),
        ("sorry step=1 reward<0", 0),
        ('"bad luck" step=2 set:test', 3),
        ("calling step=1", 3),
    ],
)
def test_filters_find_what_they_say(library, text, found):
    expected = {"": 72, "turns>2": 18}.get(text, found)
    assert page(library, "list", q=text)["total"] == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rewrd<1", "nothing called 'rewrd'.*did you mean 'reward'"),
        ("reward<much", "compared with a number, not with 'much'"),
        ("began>noon", "compared with a time"),
        ('"open', "quotation mark"),
        ("task:xyz", "no digest"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_told_in_a_sentence(library, text, sentence):
    with pytest.raises(InputError, match=sentence):
        page(library, "list", q=text)


def test_a_word_with_a_colon_is_looked_for_as_text():
    assert parse_filter("https://x note:well").texts == ["https://x", "note:well"]


def test_a_list_is_sorted_and_those_without_a_number_come_last(library):
    lines = page(library, "list", q="step=1", sort="-reward")["rollouts"]
    rewards = [line["reward"] for line in lines]
    assert rewards == [1.0] * 3 + [0.1] * 3 + [0.0] * 3 + [None] * 3
    lines = page(library, "list", q="step=1", sort="reward")["rollouts"]
    assert [line["reward"] for line in lines][-3:] == [None] * 3


def test_a_list_comes_in_pages_that_do_not_overlap(library):
    first, second = page(library, "list"), page(library, "list", **{"from": "60"})
    assert len(first["rollouts"]) == 60
    assert len(second["rollouts"]) == 12
    assert not set(ids(first)) & set(ids(second)) - set(ids(first))


def test_a_step_keeps_the_places_of_those_that_do_not_fit(library):
    content = page(library, "step", step="1", q="reward>0.5")
    assert [len(group["rollouts"]) for group in content["groups"]] == [4, 4, 4]
    assert [line.get("out", False) for line in content["groups"][0]["rollouts"]] == [
        False,
        True,
        True,
        True,
    ]
    assert content["fitting"] == 3


def test_a_group_says_how_many_tokens_its_rollouts_share(library):
    content = page(library, "group", step="1", group="step1-1")
    assert ids({"rollouts": [r["facts"] for r in content["rollouts"]]}) == [
        f"step1-1-{n}" for n in range(4)
    ]
    assert content["shared"] == 10  # the one with tools has a shorter prompt


def test_a_rollout_has_its_neighbours_and_a_text_for_each_token(library):
    content = page(library, "rollout", step="1", id="step1-0-1")
    assert (content["before"], content["after"]) == ("step1-0-0", "step1-0-2")
    for segment in content["rollout"]["trajectory"]["segments"]:
        assert len(segment["texts"]) == len(segment["token_ids"])
    assert content["no_tokenizer"] is True
    assert content["rollout"]["trajectory"]["segments"][0]["texts"][0] == "[100]"


def test_a_task_is_found_in_every_step_with_its_answers(library):
    digest = page(library, "step", step="1")["groups"][0]["rollouts"][0]["task"]
    content = page(library, "task", task=digest)
    assert [line["step"] for line in content["rollouts"]] == [1] * 4 + [2] * 8 + [3] * 4 + [4] * 8
    assert content["task"] == {"question": "What is 0 + 2?", "answer": "2"}
    assert content["rollouts"][1]["answer"] == "It is 0. Sorry."


def test_two_runs_are_compared_task_by_task(library):
    content = page(library, "compare", runs="P/one\nP/two")
    assert content["differs"] == {"algorithm.optimizer.lr": {"P/one": 1e-5, "P/two": 1e-4}}
    (change,) = content["changes"]
    assert (change["set"], change["tasks"], change["mean"], change["flipped"]) == ("test", 3, 0, [])
    with pytest.raises(InputError, match="two to 4"):
        page(library, "compare", runs="P/one")


def test_what_a_running_run_adds_is_there_at_the_next_look(library, tmp_path):
    run = library.run("P/one")
    run.table.refresh()
    before = len(run.table)
    write_steps(run.directory, range(5, 6))
    assert page(library, "step", step="5")["fitting"] == 12
    assert len(run.table) == before + 12


def test_a_run_that_went_back_is_read_anew(library):
    from agentscope_tuner.runs.writer import RolloutWriter

    run = library.run("P/one")
    run.table.refresh()
    RolloutWriter(run.directory).begin(1)
    run.table.refresh()
    assert len(run.table) == 12


def test_half_a_line_waits_for_its_other_half(library):
    path = index_path(library.run("P/one").directory)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    table = RolloutTable(path.parent.parent)
    table.refresh()
    assert len(table) == 71
    with path.open("ab") as file:
        file.write(whole[-10:])
    table.refresh()
    assert len(table) == 72


def test_an_old_run_without_an_index_is_read_and_nothing_is_written_into_it(library):
    directory = library.run("P/one").directory / "rollouts"
    for path in directory.glob("*.zst"):  # as the first format had it: one frame, no number
        lines = [line for _, found in read_frames(path) for line in found]
        old = [json.dumps({k: v for k, v in line.items() if k != "format"}) for line in lines]
        path.write_bytes(zstandard.compress(("\n".join(old) + "\n").encode()))
    (directory / "index.jsonl").unlink()
    before = sorted(directory.iterdir())
    assert page(library, "list")["total"] == 72
    content = page(library, "group", step="1", group="step1-1")
    assert [r["id"] for r in content["rollouts"]] == [f"step1-1-{n}" for n in range(4)]
    assert sorted(directory.iterdir()) == before


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: (d / "index.jsonl").write_text('{"format": 99}\n'), "newer agentscope-tuner"),
        (lambda d: (d / "index.jsonl").write_text('{"format": 1}\n{]\n'), "damaged near byte 14"),
        (
            lambda d: (d / "index.jsonl").write_text('{"format": 1}\n{"task": "ab"}\n'),
            "damaged near",
        ),
        (lambda d: (d / "index.jsonl").write_text('{"format": 1}\n[]\n'), "damaged near byte"),
        (lambda d: (d / "step_1.jsonl.zst").write_bytes(b"x" * 5000), "is damaged"),
        (lambda d: (d / "step_1.jsonl.zst").unlink(), "is gone"),
    ],
)
def test_bad_files_are_told_in_a_sentence(library, spoil, sentence):
    spoil(library.run("P/one").directory / "rollouts")
    with pytest.raises(InputError, match=sentence):
        page(library, "group", step="1", group="step1-1")


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", "step_1.jsonl.zst/x"])
def test_an_index_cannot_name_a_file_outside_of_its_run(library, name):
    path = index_path(library.run("P/one").directory)
    path.write_text(path.read_text().replace('"step_1.jsonl.zst"', json.dumps(name)))
    with pytest.raises(InputError, match="is not a file of rollouts of this run"):
        page(library, "group", step="1", group="step1-1")


def test_a_link_out_of_the_run_is_not_followed(library, tmp_path):
    run = library.run("P/one").directory
    secret = tmp_path / "secret.zst"
    (run / "rollouts" / "step_1.jsonl.zst").rename(secret)
    (run / "rollouts" / "step_1.jsonl.zst").symlink_to(secret)
    (run / "run.log").unlink()
    (run / "run.log").symlink_to(tmp_path / "secret.zst")
    with pytest.raises(InputError, match="is not a file of rollouts of this run"):
        page(library, "group", step="1", group="step1-1")
    assert page(library, "files")["log"] == ""


def test_tokens_that_are_one_character_together_are_shown_as_it(tmp_path, tiny_model):
    from transformers import AutoTokenizer

    from agentscope_tuner.viewer.vocabulary import Vocabulary

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    vocabulary = Vocabulary(tmp_path)
    text = "Hello 你好 🙂 x"
    ids = tokenizer.encode(text)
    assert "".join(vocabulary.texts(ids)) == text
    assert len(vocabulary.texts(ids)) == len(ids)


def test_a_run_whose_state_or_metrics_are_damaged_still_shows_its_rollouts(library):
    directory = library.run("P/one").directory
    (directory / "run_state.json").write_text('{"status": "runn')
    with (directory / "metrics.jsonl").open("a") as file:
        file.write("{]\n")
    content = page(library, "run")
    assert len(content["steps"]) == 6
    assert content["training"]["steps"] == [1, 2, 3, 4]
    assert "run_state.json is not the state of a run" in content["problem"]
