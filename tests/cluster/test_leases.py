from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentscope_tuner.engine.ray.leases import Lease, LeaseTable
from agentscope_tuner.rollout.sampling import Sampling


def leases_of(groups: int, size: int) -> list[Lease]:
    return [
        Lease(group * size + index, "step1", group, index, {}, 0, Sampling())
        for group in range(groups)
        for index in range(size)
    ]


@given(
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["deal", "lose", "close", "again"]), st.integers(0, 1000))),
)
def test_whatever_happens_each_lease_is_counted_once(
    groups: int, size: int, most: int, events: list[tuple[str, int]]
) -> None:
    table, workers = LeaseTable(), 3
    table.add(leases_of(groups, size))
    held: list[tuple[int, int]] = []
    """What workers were ever dealt, whether they are lost meanwhile or not."""
    counted: list[int] = []
    for event, number in [*events, *[("deal", 0), ("close", 0)] * (groups * size)]:
        worker = number % workers
        match event:
            case "deal":
                for dealt_to, leases in table.deal(dict.fromkeys(range(workers), most)).items():
                    held += [(dealt_to, lease.number) for lease in leases]
                assert all(table.held_by(worker) <= most for worker in range(workers))
            case "lose":
                table.lose(worker)
            case "close" | "again" if held:
                which = held[number % len(held)] if event == "again" else held.pop(0)
                if table.close(*which):
                    counted.append(which[1])
    assert sorted(counted) == sorted(set(counted))
    assert len(counted) + table.open == groups * size


def test_groups_stay_together_and_the_work_is_shared() -> None:
    table = LeaseTable()
    table.add(leases_of(groups=4, size=3))
    dealt = table.deal({0: 100, 1: 100})
    assert {place: {lease.group for lease in leases} for place, leases in dealt.items()} == {
        0: {0, 2},
        1: {1, 3},
    }


def test_a_group_alone_is_split() -> None:
    table = LeaseTable()
    table.add(leases_of(groups=1, size=8))
    assert {place: len(leases) for place, leases in table.deal({0: 9, 1: 9}).items()} == {
        0: 4,
        1: 4,
    }


def test_the_leases_of_a_lost_worker_are_dealt_first_and_its_results_count_no_more() -> None:
    table = LeaseTable()
    table.add(leases_of(groups=3, size=1))
    table.deal({0: 1})
    (lost,) = table.lose(0)
    assert not table.close(0, lost.number)
    assert [lease.number for lease in table.deal({1: 2})[1]] == [0, 1]
    assert table.losses_of(lost) == 1
    assert table.close(1, lost.number)


def test_dropped_leases_are_not_open() -> None:
    table = LeaseTable()
    table.add(leases_of(groups=2, size=2))
    table.deal({0: 2})
    table.drop({0, 2})
    assert table.open == 2
    assert not table.close(0, 0)
