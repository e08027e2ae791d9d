"""What a pack stores, and what it stores once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import random_groups

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training.packing import PackSize, pack_batch
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

LARGE = 10_000


def sampled(ids, **details):
    details = {"forced": [False] * len(ids), **details}
    return Sampled([-1.0] * len(ids), model="m", version=0, **details)


def rollout(prompt, answer, advantage=1.0, **details):
    segments = [Segment(None, prompt), Segment(0, answer, sampled(answer, **details))]
    return Rollout("r", {}, Trajectory(segments), advantage=advantage)


def group(*rollouts):
    return RolloutGroup("g", {}, list(rollouts))


def rows(groups, max_tokens=LARGE, **settings):
    return [
        p.token_ids_T.tolist() for p in pack_batch(Batch(groups), PackSize(max_tokens), **settings)
    ]


def test_a_shared_prompt_is_stored_once_and_answers_are_not_merged():
    (pack,) = pack_batch(
        Batch([group(rollout([1, 2], [5, 6, 7]), rollout([1, 2], [5, 6, 8]))]), PackSize(LARGE)
    )
    # The last token of each answer predicts nothing and is left out.
    assert pack.token_ids_T.tolist() == [1, 2, 5, 6, 5, 6]
    assert pack.position_ids_T.tolist() == [0, 1, 2, 3, 2, 3]
    assert pack.subtree_end_T.tolist() == [6, 6, 4, 4, 6, 6]
    assert pack.predecessors_N.tolist() == [1, 2, 3, 1, 4, 5]
    assert pack.targets_N.tolist() == [5, 6, 7, 5, 6, 8]


def test_prompts_are_shared_up_to_where_they_part_ways():
    prompts = ([1, 2, 3], [1, 2, 4], [1, 2])
    (pack,) = pack_batch(Batch([group(*(rollout(p, [9, 9]) for p in prompts))]), PackSize(LARGE))
    assert pack.token_ids_T.tolist() == [1, 2, 3, 9, 4, 9, 9]
    assert pack.position_ids_T.tolist() == [0, 1, 2, 3, 2, 3, 2]


def test_two_branches_of_one_rollout_share_their_beginning():
    tree = Trajectory(
        [
            Segment(None, [1, 2]),
            Segment(0, [5], sampled([5])),
            Segment(1, [3, 4]),
            Segment(2, [6, 7], sampled([6, 7])),
            Segment(None, [1, 2, 8]),  # a history that was changed
            Segment(4, [5], sampled([5])),
        ]
    )
    assert rows([group(Rollout("r", {}, tree, advantage=1.0))]) == [[1, 2, 5, 3, 4, 6, 8]]


def test_different_groups_share_what_their_prompts_begin_with():
    pairs = [group(rollout([1, 2], [5, 5])), group(rollout([1, 3], [6, 6]))]
    assert rows(pairs) == [[1, 2, 5, 3, 6]]
    assert rows(pairs, max_tokens=5) == [[1, 2, 5], [1, 3, 6]]


def test_what_follows_the_last_trained_token_is_left_out():
    tree = Trajectory(
        [
            Segment(None, [1]),
            Segment(0, [5, 6, 7], sampled([5, 6, 7], forced=[False, False, True])),
            Segment(1, [3, 4]),
        ]
    )
    assert rows([group(Rollout("r", {}, tree, advantage=1.0))]) == [[1, 5]]


def test_rollouts_without_advantage_are_not_packed():
    members = group(rollout([1], [5, 5], None), rollout([1], [6, 6], 0.0), rollout([1], [7, 7]))
    assert rows([members]) == [[1, 6, 7]]
    assert rows([members], without=frozenset({1})) == [[1, 7]]
    assert rows([group(rollout([1], [5, 5], None))]) == []


def test_no_group_is_added_beyond_what_is_enough_and_none_is_split_for_it():
    groups = [group(*(rollout([1, 2, k], [5, 6]) for _ in range(3))) for k in range(3)]
    sizes = [len(pack.token_ids_T) for pack in pack_batch(Batch(groups), PackSize(LARGE, enough=4))]
    assert sizes == [len(row) for one in groups for row in rows([one])]
    assert min(sizes) > 4


def test_groups_of_which_half_is_a_common_beginning_share_a_pack_beyond_what_is_enough():
    def packs(common, most=LARGE, enough_shared=LARGE):
        prompts = [[*range(10, 10 + common), k] for k in range(3)]
        groups = [group(rollout(prompt, [5, 6]), rollout(prompt, [7, 8])) for prompt in prompts]
        size = PackSize(most, enough=4, enough_shared=enough_shared)
        return [len(pack.token_ids_T) for pack in pack_batch(Batch(groups), size)]

    own = 5  # the prompt's last token, and two answers, whose last tokens no pack stores
    assert packs(common=own) == [own + 3 * (own - 2)]
    assert packs(common=own - 1) == [own - 1 + own - 2] * 3
    assert packs(common=8, enough_shared=8 + 2 * own) == [8 + 2 * (own - 2), 8 + own - 2]
    assert packs(common=8, most=8 + 2 * own) == [8 + 2 * (own - 2), 8 + own - 2]


def test_packs_keep_to_the_limit_and_repeat_the_prompt_where_a_group_is_cut():
    members = group(*(rollout([1, 2, 3], [5, 5, 5]) for _ in range(4)))
    assert rows([members], max_tokens=9) == [[1, 2, 3, 5, 5, 5, 5]] * 2
    # One rollout that is too long for any pack gets its own.
    assert rows([members], max_tokens=2) == [[1, 2, 3, 5, 5]] * 4


def test_a_text_that_begins_with_a_sampled_token_is_trained_from_its_second_on():
    tree = Trajectory([Segment(None, [5, 6], sampled([5, 6]))])
    (pack,) = pack_batch(Batch([group(Rollout("r", {}, tree, advantage=1.0))]), PackSize(LARGE))
    assert pack.targets_N.tolist() == [6]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.builds(
        PackSize,
        st.sampled_from([8, 30, LARGE]),
        enough=st.sampled_from([1, 30, LARGE]),
        enough_shared=st.sampled_from([1, 100, LARGE]),
    ),
)
def test_every_trained_token_sees_exactly_its_own_branch(seed, size):
    groups = random_groups(seed)
    members = [r for g in groups for r in g.rollouts]
    batch = Batch(groups)
    origins = {
        span.start + n: (number, segment, index)
        for (number, segment), span in batch.spans.items()
        for n, index in enumerate(span.trained.tolist())
    }
    seen = []
    for pack in pack_batch(batch, size):
        row, ends = np.arange(len(pack.token_ids_T)), pack.subtree_end_T
        for n, token in enumerate(pack.rows_N.tolist()):
            number, segment, index = origins[token]
            trajectory = members[number].trajectory
            before = len(trajectory.segments[segment].token_ids) - index
            branch = trajectory.token_ids(segment)[:-before]
            at = pack.predecessors_N[n]
            ancestors = row[(row <= at) & (at < ends)]
            assert pack.token_ids_T[ancestors].tolist() == branch
            assert pack.position_ids_T[ancestors].tolist() == list(range(len(branch)))
            assert pack.targets_N[n] == trajectory.segments[segment].token_ids[index]
            assert batch.columns["advantage"][token] == np.float32(members[number].advantage)
            seen.append(token)
    assert sorted(seen) == list(range(len(batch)))
