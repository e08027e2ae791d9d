"""The cluster gives the numbers of one machine."""

from __future__ import annotations

from ray.cluster_utils import Cluster
from runs_on import Tune, on

from attack.sameness import differences


def test_a_run_on_two_nodes_is_the_run_on_one_machine_to_the_last_bit(
    cluster: Cluster, tune_program: Tune
) -> None:
    alone = tune_program("alone")
    assert differences(tune_program("spread", *on(cluster)), alone) == {}
