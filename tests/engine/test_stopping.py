"""A run that ends before its last step: by a limit, by a callback; and whom it tells."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase

from agentscope_tuner import (
    AlgorithmConfig,
    Callback,
    DatasetConfig,
    InputError,
    JudgeOutput,
    RunError,
    TuneResult,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from agentscope_tuner.engine.limits import Limits, LimitSettings
from agentscope_tuner.monitor.alerts import Alerts
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.trajectory import Rollout
from agentscope_tuner.tuning import Invocation, invoked_as


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    answer = await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(response=answer.content[0]["text"])


async def even(task: dict[str, Any], response: str) -> JudgeOutput:
    return JudgeOutput(reward=float(len(response) % 2))


async def alike(task: dict[str, Any], response: str) -> JudgeOutput:
    return JudgeOutput(reward=0.5)


@pytest.fixture
def run(tiny_model: Path, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Tunes for at most six steps, evaluating after each, with these settings."""
    monkeypatch.chdir(tmp_path)

    def run(*settings: str, judge: Any = even, **arguments: Any) -> TuneResult:
        with invoked_as(Invocation(settings=settings)):
            return tune(
                workflow_func=ask,
                judge_func=judge,
                model=TunerModelConfig(model_path=str(tiny_model), max_model_len=128, max_tokens=6),
                train_dataset=DatasetConfig(path=str(sums), total_steps=6),
                eval_dataset=DatasetConfig(path=str(sums), split="test"),
                algorithm=AlgorithmConfig(group_size=2, batch_size=2, eval_interval_steps=1),
                experiment_name="one",
                monitor_type="none",
                **arguments,
            )

    return run


def evaluated(result: TuneResult) -> list[int]:
    records = read_metrics(result.run_directory / "metrics.jsonl")
    return [int(r["step"]) for r in records if "eval/test/reward/mean" in r]


def test_patience_ends_a_run_that_gets_no_better_and_saves_it(run: Any, capfd: Any) -> None:
    result = run("stop.patience=2", judge=alike)
    assert evaluated(result) == [0, 1, 2]
    assert result.finished
    assert result.checkpoint is not None
    assert result.checkpoint.name == "global_step_2"
    said = "ended after step 2 of 6: eval/test/reward/mean was 2 times in a row no better than 0.5"
    assert said in capfd.readouterr().out
    assert said in (result.run_directory / "run.log").read_text()


def test_a_run_that_ended_goes_on_only_when_the_limit_is_lifted(run: Any) -> None:
    run("stop.patience=1", judge=alike)
    again = run("stop.patience=1", judge=alike, resume=True)
    assert evaluated(again) == [0, 1]
    on = run("stop.patience=3", judge=alike, resume=True)
    assert evaluated(on) == [0, 1, 2, 3]


def test_what_ends_a_run_between_evaluations_evaluates_it(run: Any) -> None:
    result = run("stop.max_tokens=1", "explorer.eval_interval=4")
    assert evaluated(result) == [0, 1]
    assert result.checkpoint is not None
    assert result.checkpoint.name == "global_step_1"


class Watch(Callback):
    def __init__(self, last: int) -> None:
        self.last = last
        self.heard: list[Any] = []

    def on_rollout(self, rollout: Rollout) -> None:
        self.heard.append("rollout")

    def on_step(self, step: int, metrics: Mapping[str, float]) -> bool:
        self.heard.append(("step", step, "reward/mean" in metrics))
        return step == self.last

    def on_evaluation(self, step: int, name: str, metrics: Mapping[str, float]) -> None:
        self.heard.append(("evaluation", step, name, "reward/mean" in metrics))

    def on_save(self, step: int, checkpoint: Path) -> None:
        self.heard.append(("save", step, checkpoint.is_dir()))

    def on_end(self, status: str) -> None:
        self.heard.append(("end", status))


def test_a_callback_hears_everything_in_order_and_may_end_the_run(run: Any) -> None:
    watch = Watch(last=1)
    result = run(callbacks=[watch])
    assert result.finished
    assert watch.heard == [
        *["rollout"] * 4,
        ("evaluation", 0, "test", True),
        *["rollout"] * 4,
        ("step", 1, True),
        *["rollout"] * 4,
        ("evaluation", 1, "test", True),
        ("save", 1, True),
        ("end", "finished"),
    ]
    assert "Watch has asked for it" in (result.run_directory / "run.log").read_text()


def test_a_callback_that_raises_ends_the_run_with_its_last_step_saved(run: Any) -> None:
    class Faulty(Callback):
        def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as raised:
        run(callbacks=[Faulty()])
    assert raised.value.__notes__ == ["Step 1, the last, is saved: the run can be resumed."]


def test_a_metric_that_no_run_has_is_named(run: Any) -> None:
    with pytest.raises(RunError, match=r"did you mean .*eval/test/reward/mean"):
        run("stop.patience=1", "stop.metric=eval/tets/reward/mean")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("stop.metric=reward/mean", "no effect without"),
        ("stop.patience=0", "greater than 0"),
    ],
)
def test_a_limit_that_cannot_be_is_bad_input(run: Any, setting: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run(setting)


def test_patience_without_an_evaluation_is_bad_input() -> None:
    with pytest.raises(InputError, match="need an eval_dataset"):
        LimitSettings(patience=1).watching([])
    assert LimitSettings(max_hours=1.0).watching([]).metric is None


@pytest.mark.parametrize(
    ("settings", "lines", "reason"),
    [
        (LimitSettings("m", target=0.9), [{"m": 0.5}, {"m": 0.9}], "has reached 0.9"),
        (LimitSettings("m", patience=2), [{"m": 0.5}, {"m": 0.4}, {"m": 0.6}, {"m": 0.6}], None),
        (LimitSettings("m", patience=1), [{"m": 0.5}, {"x": 1.0}, {"m": float("nan")}], None),
        (
            LimitSettings(max_hours=1.0),
            [{"time/step": 1800.0}, {"eval/a/time/eval": 1800.0}],
            "1.00 hours",
        ),
        (LimitSettings(max_tokens=10), [{"train/tokens": 6.0}, {"train/tokens": 6.0}], "12 tokens"),
    ],
)
def test_limits_count_what_a_run_has_logged(
    settings: LimitSettings, lines: Sequence[Mapping[str, float]], reason: str | None
) -> None:
    limits = Limits(settings)
    for line in lines:
        limits.see(line)
    assert (limits.reached is None) if reason is None else (reason in str(limits.reached))


def test_a_command_is_told_of_grave_findings_and_of_the_end(run: Any, tmp_path: Path) -> None:
    run(f"alerts.command=cat >> {tmp_path}/told; echo >> {tmp_path}/told", judge=alike)
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [each["event"] for each in told] == ["finding", "finished"]
    assert {each["run"] for each in told} == {"AgentScope/one"}
    assert told[0]["text"].startswith("high: Every reward so far is 0.5")
    assert told[1]["text"] == "finished after step 6 of 6"


@pytest.fixture
def hook() -> Iterator[tuple[str, list[bytes]]]:
    """An address that takes what is posted to it, and what it took."""
    taken: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", taken
        server.shutdown()
        thread.join()


def test_a_webhook_gets_one_object_an_event(hook: tuple[str, list[bytes]]) -> None:
    address, taken = hook
    Alerts("P/one", webhook=address).send("failed", "failed after step 3 of 8")
    expected = {"run": "P/one", "event": "failed", "text": "failed after step 3 of 8"}
    assert [json.loads(body) for body in taken] == [expected]


def test_an_alert_that_does_not_work_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Alerts("P/one", "echo sorry >&2; exit 3", "http://127.0.0.1:9/").send("failed", "x")
    command, webhook = (record.getMessage() for record in caplog.records)
    assert "alerts.command did not work" in command
    assert "sorry" in command
    assert "alerts.webhook did not work" in webhook
