"""A network that loses, repeats and delays."""

import random
import signal
import time

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import normalization_pb2

from scenarios import SESSIONS, end, replies_lost
from servers import dial
from training import (Trainer, assert_nothing_went_wrong, batch, in_threads,
                      is_replay, judge, undisturbed)

DROPS = 200
FORWARD = "/batchnorm.v1.BatchNormService/Forward"


def test_replies_that_are_lost_are_had_by_asking_again(
        server, reference, tmp_path, report):
    trainers, outcome, dropped = replies_lost(server, reference, tmp_path,
                                              DROPS)
    replayed = sum(trainer.replayed for trainer in trainers)
    report(f"dropped {dropped}, replayed {replayed}, {outcome}")
    assert dropped == DROPS
    assert replayed > 0
    assert_nothing_went_wrong(outcome, trainers)


def send_copies(methods, session, step):
    """One request three times at once; the replies and how many replayed."""
    request = pb.ForwardRequest(
        session=session, step=step, mode=normalization_pb2.MODE_TRAIN,
        acknowledged_step=step - 1, x=batch(session, step)).SerializeToString()
    calls = [method.future(request, timeout=60) for method in methods]
    replies = {call.result() for call in calls}
    return replies, sum(is_replay(call) for call in calls)


def test_a_request_sent_three_times_at_once_is_applied_once(
        server, reference, calls, report):
    server.start()
    trainer = Trainer(server.address, "a")
    trainer.create()
    channels = [dial(server.address) for _ in range(3)]
    methods = [channel.unary_unary(FORWARD) for channel in channels]
    for step in range(1, calls + 1):
        replies, replayed = send_copies(methods, "a", step)
        assert len(replies) == 1, f"step {step}: replies differ"
        assert replayed == 2, f"step {step}: {3 - replayed} took it"
    trainer.acknowledged = calls
    for channel in channels:
        channel.close()
    outcome = judge([trainer], reference)
    report(f"calls {3 * calls}, {outcome}")
    assert_nothing_went_wrong(outcome, [trainer])


def test_a_server_that_stands_still_for_a_while_is_only_slow(
        server, reference, report):
    server.start()
    noise = random.Random(1)
    trainers = [Trainer(server.address, name, timeout=0.1) for name in SESSIONS]
    threads = in_threads(trainers)
    for _ in range(10):
        time.sleep(noise.uniform(0.02, 0.1))
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(noise.uniform(0.1, 0.4))
        server.process.send_signal(signal.SIGCONT)
    end(trainers, threads)
    late = sum(trainer.attempts - trainer.acknowledged for trainer in trainers)
    for trainer in trainers:
        trainer.timeout = 60.0
    outcome = judge(trainers, reference)
    report(f"sent again {late}, {outcome}")
    assert late > 0
    assert_nothing_went_wrong(outcome, trainers)


def test_two_runs_without_faults_are_the_same(reference):
    first = undisturbed(reference, "twice/1", 20)
    assert first.last_step == first.batches == 20
    assert undisturbed(reference, "twice/2", 20) != first  # other batches
