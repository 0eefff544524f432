"""A former self that is not dead: fenced, or not."""

import os
import pathlib
import subprocess
import sys
import threading

import grpc
import pytest

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import session_pb2

import raw_trainer
from training import (Trainer, assert_nothing_went_wrong, batch, judge,
                      reason_of)

ROOT = pathlib.Path(__file__).resolve().parents[2]


def acquire(trainer, nonce):
    reply, _ = trainer.call("AcquireSession",
                            pb.AcquireSessionRequest(
                                name=trainer.session,
                                at_least_step=trainer.acknowledged,
                                nonce=nonce))
    trainer.writer_token = reply.writer_token
    trainer.go_on_after(reply.last_step)


def restarted(server, has_token):
    """A run that was taken for dead, and the one that replaces it: both think
    that they train the session. The former one's next batch is its own."""
    server.start()
    former = Trainer(server.address, "a", goal=5)
    former.run()
    newer = Trainer(server.address, "a", goal=10)
    if has_token:
        acquire(former, b"former..")
        acquire(newer, b"newer...")
    newer.go_on_after(5)
    newer.run()
    assert newer.error is None
    # It lives: it read the session's last step, and goes on.
    former.go_on_after(10)
    former.goal = 12
    former.run()
    return former, newer


def test_a_former_run_is_fenced_and_changes_nothing(server, reference):
    former, newer = restarted(server, has_token=True)
    assert former.error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(former.error) == "FENCED"
    outcome = judge([newer], reference)
    assert (outcome.doubled, outcome.differing) == (0, [])


def test_fencing_outlives_a_kill(server):
    former, _ = restarted(server, has_token=True)
    server.kill()
    server.start()
    former.error = None
    former.run()
    assert reason_of(former.error) == "FENCED"


def test_the_runner_notices_a_former_run_that_is_not_fenced(server, reference):
    former, newer = restarted(server, has_token=False)
    assert former.error is None
    outcome = judge([newer], reference)
    assert outcome.doubled == 2
    assert outcome.differing == ["a"]


def test_the_trainer_in_plain_stubs_trains_and_stops_when_it_is_fenced(server):
    server.start()
    trainer = Trainer(server.address, "raw")
    trainer.create()
    batches = [batch("raw", step) for step in range(1, 6)]
    assert raw_trainer.train(trainer.stub, "raw", batches, 0) == 5
    assert raw_trainer.train(trainer.stub, "raw", batches, 5) == 10

    def taken_over():
        yield batches[0]
        acquire(trainer, b"another.")
        yield batches[1]

    with pytest.raises(grpc.RpcError) as refused:
        raw_trainer.train(trainer.stub, "raw", taken_over(), 10)
    assert reason_of(refused.value) == "FENCED"
    with pytest.raises(grpc.RpcError) as lost:
        raw_trainer.train(trainer.stub, "raw", batches, 99)
    assert reason_of(lost.value) == "STEPS_LOST"


def test_the_trainer_in_plain_stubs_outlives_kills(server, reference, report):
    """It notices nothing; it is the generator of its batches that kills."""
    server.start()
    trainer = Trainer(server.address, "raw")
    trainer.create()

    def batches_and_kills():
        for step in range(1, 61):
            if step % 10 == 0:
                server.kill()
                server.start()
            yield batch("raw", step)

    assert raw_trainer.train(trainer.stub, "raw", batches_and_kills(), 0) == 60
    trainer.go_on_after(60)
    trainer.dial()
    outcome = judge([trainer], reference, server.kills)
    report(outcome)
    assert outcome.kills == 6
    assert_nothing_went_wrong(outcome, [trainer])


def test_the_trainer_in_plain_stubs_sends_again_what_was_stored(server, reference):
    """The reply to its fifth step dies with the server."""
    server.start()
    trainer = Trainer(server.address, "raw")
    trainer.create()
    server.stop()
    server.spawn("kill@after_commit:6")  # AcquireSession is the first
    revival = threading.Thread(target=revive, args=[server])
    revival.start()
    batches = [batch("raw", step) for step in range(1, 9)]
    assert raw_trainer.train(trainer.stub, "raw", batches, 0) == 8
    revival.join()
    trainer.go_on_after(8)
    trainer.dial()
    outcome = judge([trainer], reference, server.kills)
    assert outcome.kills == 1
    assert_nothing_went_wrong(outcome, [trainer])


def revive(server):
    server.await_death()
    server.start()


def test_the_trainer_in_plain_stubs_is_a_program(server):
    server.start()
    Trainer(server.address, "raw", goal=0).call(
        "CreateSession", pb.CreateSessionRequest(
            name="raw", config=session_pb2.SessionConfig(channels=1)))
    result = subprocess.run(
        [sys.executable, raw_trainer.__file__, server.address, "raw", "7"],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert (result.stdout, result.returncode) == ("last step 7\n", 0), result.stderr


def test_the_contracts_readme_quotes_the_trainer():
    text = (ROOT / "tests/fault/raw_trainer.py").read_text()
    quoted = text.split("# [begin]\n")[1].split("# [end]\n")[0]
    assert quoted in (ROOT / "proto/README.md").read_text()
