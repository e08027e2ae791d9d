"""What is wrong with a cluster is said in one sentence, within the time that is stated."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from started import ray_started

from agentscope_tuner.engine.ray import cluster as joining
from agentscope_tuner.engine.ray.cluster import await_nodes, joined
from agentscope_tuner.errors import InputError

JOIN = """
import sys
from agentscope_tuner.engine.ray.cluster import joined
from agentscope_tuner.errors import InputError
try:
    with joined(sys.argv[1]):
        print("joined")
except InputError as error:
    print(error)
"""


def try_to_join(address: str, environment: dict[str, str]) -> str:
    began = time.monotonic()
    joins = subprocess.run(
        [sys.executable, "-c", JOIN, address],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert time.monotonic() - began < 60
    return joins.stdout


def test_who_has_no_token_is_told_that_it_is_the_token(short_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    with ray_started(short_path, workers=0, environment=token) as address:
        assert try_to_join(address, token) == "joined\n"
        without = try_to_join(address, {"RAY_AUTH_MODE": "disabled"})
        assert "lets this process not in" in without
        assert "RAY_AUTH_TOKEN" in without
        wrong = try_to_join(address, {**token, "RAY_AUTH_TOKEN": "1" * 64})
        assert "lets this process not in" in wrong
        none = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/nowhere"}
        assert "token" in try_to_join(address, none)


def test_a_machine_that_does_not_come_is_named(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "NODES_S", 1.0)
    with joined(cluster.address):
        assert len(await_nodes({"node_num": 2})) == 2
        with pytest.raises(InputError, match=r"node_num is 3, but after 1 s .* only 2: 127\.0\.0"):
            await_nodes({"node_num": 3})
