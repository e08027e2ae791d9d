from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import ray.cloudpickle
import torch
from ray._private import services

from agentscope_tuner import on_cluster
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.engine.ray.arrays import from_arrays, to_arrays
from agentscope_tuner.engine.ray.cluster import find_address, joined
from agentscope_tuner.engine.ray.placement import (
    Node,
    ranks_places,
    refuse_missing_nodes,
    samplers_resources,
)
from agentscope_tuner.engine.ray.weights import unwrapped, wrapped
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout, Sampled, Segment, Trajectory


def a_rollout() -> Rollout:
    sampled = Sampled(
        logprobs=[-0.5, float(np.float32(-1 / 3)), -1 / 3],  # the last is no float32
        forced=[False, True, False],
        model="policy",
        version=3,
        supports={1: np.array([4, 7], np.int32)},
        columns={"learner": [math.nan, -2.0, -1e300]},
        version_changes=[(2, 4)],
    )
    segments = [Segment(None, [1, 2]), Segment(0, [3, 151_000, 5], sampled)]
    return Rollout("step1-0-0", {"question": "?"}, Trajectory(segments), reward=1.0)


def test_a_rollout_comes_back_as_it_was_sent_to_the_last_bit() -> None:
    rollout = a_rollout()
    sent = ray.cloudpickle.loads(ray.cloudpickle.dumps(to_arrays(copy.deepcopy(rollout))))
    back = from_arrays(sent, rollout.task)
    assert repr(back) == repr(rollout)  # NaN equals itself in this
    token = back.trajectory.segments[1].token_ids[0]
    assert type(token) is int


def test_float32_numbers_are_sent_in_four_bytes() -> None:
    rollout = a_rollout()
    assert rollout.trajectory.segments[1].sampled is not None
    rollout.trajectory.segments[1].sampled.logprobs = [-0.5, 0.0, 1.5]
    sent = to_arrays(rollout).trajectory.segments[1].sampled
    assert sent is not None
    assert np.asarray(sent.logprobs).dtype == np.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_as_they_were(dtype: torch.dtype) -> None:
    weights = {"a": torch.randn(3, 4).to(dtype), "turned": torch.randn(2, 5).to(dtype).T}
    back = unwrapped(ray.cloudpickle.loads(ray.cloudpickle.dumps(wrapped(weights))))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_samplers_share_the_processors_and_take_a_gpu_each_where_there_are_any() -> None:
    assert samplers_resources([Node("a", 8, 0), Node("b", 8, 0)], 2) == {
        "num_cpus": 8,
        "num_gpus": 0,
    }
    assert samplers_resources([Node("a", 8, 0), Node("b", 4, 0)], 3)["num_cpus"] == 4
    assert samplers_resources([Node("a", 8, 0), Node("b", 8, 4)], 3)["num_gpus"] == 1
    assert samplers_resources([Node("a", 8, 4), Node("b", 8, 4)], 4, 2)["num_gpus"] == 2
    with pytest.raises(InputError, match="engine_num is 3, each with 4 GPUs of one machine"):
        samplers_resources([Node("a", 8, 4), Node("b", 8, 6)], 3, 4)


@pytest.mark.parametrize(
    ("nodes", "missing"), [([Node("a", 1, 0)], "a CPU"), ([Node("a", 9, 1)], "a GPU")]
)
def test_samplers_without_room_are_refused_with_what_there_is(
    nodes: list[Node], missing: str
) -> None:
    with pytest.raises(InputError, match=rf"engine_num is 2, each with {missing} .* a \("):
        samplers_resources(nodes, 2)


def test_ranks_have_a_gpu_each_on_few_machines_or_the_machines_in_turn() -> None:
    small, large = Node("a", 8, 2), Node("b", 8, 4)
    assert ranks_places([small, large], 5, kept=1) == [large, large, large, large, small]
    with pytest.raises(InputError, match=r"ranks is 5, .* and samplers need 2, .* a \(8 CPUs, 2"):
        ranks_places([small, large], 5, kept=2)
    one, other = Node("a", 1, 0), Node("b", 1, 0)
    assert ranks_places([other, one], 3, kept=1) == [one, other, one]


def test_missing_machines_and_gpus_are_named_by_their_keys() -> None:
    nodes = [Node("10.0.0.1", 8, 2)]
    refuse_missing_nodes(nodes, {"node_num": 1, "gpu_per_node": 2}, 60)
    with pytest.raises(InputError, match=r"node_num is 2, but after 60 s .* only 1: 10.0.0.1"):
        refuse_missing_nodes(nodes, {"node_num": 2}, 60)
    with pytest.raises(InputError, match="gpu_per_node is 4, but only 0"):
        refuse_missing_nodes(nodes, {"gpu_per_node": 4}, 60)


def test_an_address_where_nobody_answers_is_refused_at_once() -> None:
    with (
        pytest.raises(InputError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "),
        joined("127.0.0.1:1"),
    ):
        pass


def test_rays_remote_client_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="ray_address is ray://head:10001, for Ray's remote"):
        find_address("ray://head:10001")


def test_where_no_cluster_was_started_a_run_stays_here_unless_it_asked_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Other tests of this machine may have started one.
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda directory: None)
    assert find_address(None) is None
    with pytest.raises(InputError, match=r"is auto, but no Ray cluster was started.*ray start"):
        find_address("auto")


def test_a_local_run_keeps_to_itself_unless_more_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_cluster, "find_spec", lambda name: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = Config()
    with on_cluster.joined_cluster(config) as joined_one:
        assert not joined_one
    config.cluster.node_num = 2
    with on_cluster.joined_cluster(config) as joined_more:
        assert not joined_more
    [notice] = notices(config)
    assert "cluster.node_num (no Ray cluster was started here" in notice
    config.cluster.ray_address = "head:6379"
    with pytest.raises(InputError, match=r"Ray is not installed: pip install .*\[ray\]"):
        on_cluster.joined_cluster(config).__enter__()
