"""What was acknowledged survives kill -9, and nothing is applied twice."""

import pytest

from scenarios import killed_at, killed_at_random
from training import assert_nothing_went_wrong


def test_nothing_is_lost_or_doubled_by_random_kills(
        server, reference, kills, report):
    trainers, outcome = killed_at_random(server, reference, kills)
    report(outcome)
    assert outcome.kills == kills
    assert outcome.acknowledged > kills
    assert_nothing_went_wrong(outcome, trainers)


@pytest.mark.parametrize("number", [1, 2, 3, 8, 13])
@pytest.mark.parametrize(
    "failpoint", ["before_compute", "before_commit", "after_commit"])
def test_nothing_is_lost_or_doubled_at_a_failpoint(
        server, reference, report, failpoint, number):
    trainers, outcome = killed_at(server, reference, failpoint, number)
    report(outcome)
    assert outcome.kills == 1
    assert_nothing_went_wrong(outcome, trainers)


def test_a_step_that_was_stored_before_the_kill_is_replayed(
        server, reference):
    trainers, outcome = killed_at(server, reference, "after_commit", 8)
    assert sum(trainer.replayed for trainer in trainers) >= 1
    assert_nothing_went_wrong(outcome, trainers)


def test_a_plan_that_is_misspelt_ends_the_server(server):
    server.spawn("kill@nowhere:1")
    assert server.process.wait(30) == 2
    assert "unknown fault" in server.log()
