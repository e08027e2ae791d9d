"""Which runs `--set key=a,b` means."""

from __future__ import annotations

import pytest

from agentscope_tuner.cli.combinations import combinations, run_name, short_names, swept
from agentscope_tuner.errors import InputError

RATE, SEED = "algorithm.optimizer.lr", "seed"


def test_every_combination_is_run_the_first_key_slowest() -> None:
    assert combinations([f"{RATE}=1e-5,1e-6", f"{SEED}=0,1", "mode=both"]) == [
        {RATE: rate, SEED: seed, "mode": "both"} for rate in ("1e-5", "1e-6") for seed in "01"
    ]


def test_a_list_and_a_quoted_text_are_one_value() -> None:
    values = [one["a.b"] for one in combinations(["a.b=[1, 2],'x,y', {k: 1} ,null"])]
    assert values == ["[1, 2]", "'x,y'", "{k: 1}", "null"]


def test_a_run_is_named_by_what_is_swept_with_as_little_of_the_keys_as_tells_them_apart() -> None:
    wanted = combinations(["a.lr=1e-5,2", "b.lr=0,1", f"{SEED}=7", "c.paths=[x/y],z"])
    assert swept(wanted) == ["a.lr", "b.lr", "c.paths"]
    short = short_names(swept(wanted))
    assert list(short.values()) == ["a.lr", "b.lr", "paths"]
    assert run_name("s", wanted[0], short) == "s-a.lr=1e-5-b.lr=0-paths=_x_y_"


def test_a_key_that_ends_another_keeps_its_own_name() -> None:
    assert short_names(["lr", "optimizer.lr"]) == {"lr": "lr", "optimizer.lr": "optimizer.lr"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["seed"], "write key=value"),
        (["seed=1"], "several values"),
        (["seed=1,2", "seed=3"], "twice"),
        (["seed=1,1"], "a value is there twice"),
        (["name=a,b"], "names of their own"),
        (["seed=[1,2"], "cannot be read"),
    ],
)
def test_bad_settings_are_named(settings: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        combinations(settings)
