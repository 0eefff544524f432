"""A step is taken by all ranks or by none, and each can ask again: what every
rank is told, and what the session is afterwards."""

import time

import grpc
import numpy as np
import pytest

from batchnorm.v1 import batch_norm_service_pb2 as pb
from group import (BARRIER_SECONDS, CHANNELS, Group, assert_aborted, numbers,
                   outcome, refusal, same_answers, shard, tensor)


@pytest.fixture
def group(server):
    with Group(server, 3) as group:
        yield group


def test_a_straggler_is_named_to_all_and_the_step_is_taken_by_asking_again(group):
    group.step(1)
    began = time.monotonic()
    calls = [group.begin(group.forward_of(rank, 2)) for rank in (0, 2)]
    told = [refusal(call) for call in calls]
    waited = time.monotonic() - began
    assert BARRIER_SECONDS <= waited < BARRIER_SECONDS + 1
    for each in told:
        assert_aborted(each, "RANK_MISSING", ranks="1", step="2",
                       phase="Forward", attempt="2")
        assert each.metadata["last_seen"].endswith("s")
    assert told[0].metadata == told[1].metadata
    assert group.session().last_step == 1
    group.step(2)
    assert group.session().last_step == 2


def test_a_reply_that_was_lost_is_had_by_asking_again(group):
    first = group.step(1)
    again = group.step(1)
    assert same_answers(first, again)
    first = group.gradients(1)
    again = group.gradients(1)
    assert same_answers(first, again)
    assert group.session().counters.forward_count == 1


def test_a_deadline_shorter_than_the_barrier_leaves_the_part_there(group):
    hurried = refusal(group.begin(group.forward_of(0, 1), timeout=0.3))
    assert hurried.code == grpc.StatusCode.DEADLINE_EXCEEDED
    group.await_ranks(0)
    others = [group.begin(group.forward_of(rank, 1)) for rank in (1, 2)]
    assert all(call.result(10).step == 1 for call in others)
    assert group.begin(group.forward_of(0, 1)).result(10).step == 1


def test_a_wrong_channel_count_is_its_senders_and_releases_the_others(group):
    waiting = group.begin(group.forward_of(0, 1))
    group.await_ranks(0)
    wrong = refusal(group.begin(group.forward_of(
        1, 1, x=tensor(np.ones((4, CHANNELS + 1))))))
    assert (wrong.code, wrong.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT, "WRONG_CHANNELS")
    assert_aborted(refusal(waiting), "RANK_REFUSED", rank="1",
                   rank_reason="WRONG_CHANNELS")
    assert group.session().last_step == 0


def test_another_new_weight_is_its_senders_and_releases_the_others(group):
    waiting = group.begin(group.forward_of(0, 1, new_weight=0.5))
    group.await_ranks(0)
    other = refusal(group.begin(group.forward_of(1, 1, new_weight=0.25)))
    assert (other.code, other.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT, "NEW_WEIGHT_DIFFERS")
    assert_aborted(refusal(waiting), "RANK_REFUSED", rank="1",
                   rank_reason="NEW_WEIGHT_DIFFERS")
    group.step(1, new_weight=0.5)


def test_another_size_of_the_world_holds_from_the_next_step_on(group):
    group.step(1)
    waiting = group.begin(group.forward_of(0, 2))
    group.await_ranks(0)
    group.stub.UpdateSession(pb.UpdateSessionRequest(
        name=group.name, world_size=2, expected_step=1))
    assert_aborted(refusal(waiting), "GROUP_CHANGED")
    group.gradients(1)  # of all three
    calls = [group.begin(group.forward_of(rank, 2)) for rank in (0, 1)]
    assert [call.result(10).step for call in calls] == [2, 2]


def test_the_answers_are_those_of_numpy_and_of_one_process(server):
    with Group(server, 3) as group, Group(server, 1, name="one") as one:
        parts = [shard(rank, 1) for rank in range(3)]
        whole = np.concatenate(parts)
        answers = group.step(1)
        alone = one.begin(one.forward_of(0, 1, x=tensor(whole))).result(10)
        y = np.concatenate([numbers(answer.y) for answer in answers])
        assert y.tobytes() == numbers(alone.y).tobytes()
        x_hat = (whole - whole.mean(0)) / np.sqrt(whole.var(0) + 1e-5)
        assert np.abs(y - x_hat).max() < 1e-14


def test_a_group_is_seen_while_it_waits(group):
    group.step(1)
    waiting = [group.begin(group.forward_of(rank, 2)) for rank in (0, 1)]
    barrier = group.await_ranks(0, 1)
    assert barrier.step == 2
    assert list(barrier.missing_ranks) == [2]
    ranks = group.session().group.ranks
    assert [rank.rank for rank in ranks] == [0, 1, 2]
    assert all(rank.HasField("last_wait") for rank in ranks)
    group.begin(group.forward_of(2, 2)).result(10)
    assert [outcome(call).step for call in waiting] == [2, 2]
