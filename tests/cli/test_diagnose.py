"""`astuner diagnose`, and what a run says of itself."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Astuner

NO_JUDGEMENT = """
async def judge(task, response):
    return JudgeOutput(reward=0.5)
"""


def test_a_run_says_what_is_wrong_with_it_while_it_goes_on_and_at_its_end(
    astuner: Astuner, program: Path
) -> None:
    text = program.read_text()
    at, end = text.index("async def judge"), text.index('if __name__ == "__main__"')
    program.write_text(text[:at] + NO_JUDGEMENT + text[end:])
    ended = astuner("run", program, "--set", "buffer.total_steps=4")
    said = "high: Every reward so far is 0.5: nothing tells good answers from bad ones"
    assert ended.out.count(said) == 2
    third, last = ended.out.index(said), ended.out.rindex(said)
    assert ended.out.index("step 3/4") < third < ended.out.index("step 4/4") < last
    log = Path("checkpoints/P/first/run.log").read_text()
    assert log.count(said) == 2
    assert log.rstrip().endswith("finished after step 4")

    told = astuner("diagnose", "checkpoints/P/first")
    assert told.code == 0
    assert said in told.out
    plain = json.loads(astuner("diagnose", "checkpoints/P/first", "--json").out)
    assert (plain["run"], plain["status"]) == ("P/first", "finished")
    [finding] = [f for f in plain["findings"] if f["rule"] == "constant-reward"]
    assert len(finding["rollouts"]) == 2


def test_a_directory_of_several_runs_is_bad_input(astuner: Astuner, tuned: Path) -> None:
    (tuned.parent / "second").mkdir()
    (tuned.parent / "second" / "run_state.json").write_bytes(
        (tuned / "run_state.json").read_bytes()
    )
    ended = astuner("diagnose", tuned.parent)
    assert ended.code == 2
    assert "has 2 runs: name one of them" in " ".join(ended.err.split())
