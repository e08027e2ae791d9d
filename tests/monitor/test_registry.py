from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.registry import create_monitors


def kinds(types: Sequence[str]) -> list[str]:
    return [type(monitor).__name__ for monitor in create_monitors(types)]


def test_every_run_has_its_metrics_file() -> None:
    assert kinds(["none"]) == ["MetricsFile"]
    assert kinds(["tensorboard"]) == ["MetricsFile", "TensorBoard"]


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'tensorbord'.* did you mean tensorboard\?"):
        create_monitors(["tensorbord"])


def test_types_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        create_monitors(["tensorboard", "tensorboard"])
    with pytest.raises(InputError, match="stands alone"):
        create_monitors(["none", "tensorboard"])


@pytest.mark.parametrize("name", ["wandb", "mlflow", "swanlab"])
def test_a_missing_package_is_refused_with_the_install_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda module: None if module == name else find_spec(module)
    )
    with pytest.raises(InputError, match=rf'pip install "agentscope-tuner\[{name}\]"'):
        create_monitors([name])


def test_a_directory_left_by_a_tracker_is_not_taken_for_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swanlab").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "swanlab", raising=False)
    with pytest.raises(InputError, match="not installed"):
        create_monitors(["swanlab"])


def test_choosing_monitors_imports_none_that_was_not_asked_for() -> None:
    script = (
        "import sys; from agentscope_tuner.monitor.registry import create_monitors\n"
        "create_monitors(['none']); print({'torch', 'wandb', 'mlflow'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr
