"""The questions of examples/bfcl are done by the right call, and by no other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "bfcl"


@pytest.fixture
def bfcl(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval==2026.3.23")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import file_system

    yield file_system
    del sys.modules["file_system"]


def test_the_right_call_is_enough(bfcl: ModuleType) -> None:
    tasks = list(bfcl.questions())
    assert len(tasks) == 51
    for task in tasks:
        system = bfcl.file_system(task)
        assert bfcl.is_done(task, system, [bfcl.run(system, task["call"])]), task


def test_without_its_result_or_with_other_files_nothing_is_done(bfcl: ModuleType) -> None:
    task = next(task for task in bfcl.questions() if task["call"].startswith("cat("))
    system = bfcl.file_system(task)
    assert not bfcl.is_done(task, system, [])
    assert not bfcl.is_done(task, system, [{"error": "cat: 'a': No such file or directory"}])
    result = bfcl.run(system, task["call"])
    bfcl.run(system, "mkdir(dir_name='beside')")
    assert not bfcl.is_done(task, system, [result])


async def test_a_call_that_cannot_be_made_is_an_error_that_the_agent_sees(bfcl: ModuleType) -> None:
    task, results = next(bfcl.questions()), []
    toolkit = bfcl.make_toolkit(bfcl.file_system(task), ["cat"], results)
    call = {"type": "tool_use", "id": "1", "name": "cat", "input": {"file": 3}}
    answers = [answer async for answer in await toolkit.call_tool_function(call)]
    assert "unexpected keyword argument" in answers[-1].content[0]["text"]
    assert "error" in results[0]
