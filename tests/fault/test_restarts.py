"""What a killed server still knows of the steps it has taken: all that a replay,
a refusal or a Backward needs, but for the inputs themselves."""

import grpc
import pytest

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import normalization_pb2, tensor_pb2

from training import Trainer, batch, is_replay, reason_of

WINDOW = 8  # steps that can be replayed, where the session does not say
STEPS = 12


def forward(trainer, step, x):
    return trainer.call("Forward", pb.ForwardRequest(
        session=trainer.session, step=step, x=x,
        mode=normalization_pb2.MODE_TRAIN))


def gradient():
    x = batch("gradient", 1)
    return tensor_pb2.Tensor(dtype=x.dtype, shape=x.shape, data=x.data)


def backward(trainer, step, x=None):
    request = pb.BackwardRequest(session=trainer.session, step=step,
                                 dy=gradient(), x=x)
    return trainer.call("Backward", request)[0]


@pytest.fixture
def killed(server):
    """A trainer, the replies to its steps, and its server after a kill."""
    server.start()
    trainer = Trainer(server.address, "a")
    trainer.create()
    replies = {step: forward(trainer, step, batch("a", step))[0]
               for step in range(1, STEPS + 1)}
    gradients = {step: backward(trainer, step)
                 for step in range(STEPS - WINDOW + 1, STEPS + 1)}
    before = trainer.final()
    server.kill()
    server.start()
    trainer.dial()
    yield trainer, replies, gradients
    assert trainer.final() == before  # nothing of the below is a step


def refusal(call, *arguments):
    with pytest.raises(grpc.RpcError) as refused:
        call(*arguments)
    return reason_of(refused.value)


def test_each_step_of_the_window_is_replayed_with_the_same_bytes(killed):
    trainer, replies, _ = killed
    for step in range(STEPS - WINDOW + 1, STEPS + 1):
        reply, call = forward(trainer, step, batch("a", step))
        assert is_replay(call)
        assert reply.SerializeToString(deterministic=True) == \
            replies[step].SerializeToString(deterministic=True)


def test_a_step_with_other_inputs_is_still_refused(killed):
    trainer, _, _ = killed
    assert refusal(forward, trainer, STEPS, batch("a", 1)) == "STEP_REUSED"


def test_a_step_before_the_window_is_still_refused(killed):
    trainer, _, _ = killed
    old = STEPS - WINDOW
    assert refusal(forward, trainer, old, batch("a", old)) == "STEP_TOO_OLD"


def test_a_step_too_far_ahead_is_still_refused(killed):
    trainer, _, _ = killed
    assert refusal(forward, trainer, STEPS + 2, batch("a", 1)) == "STEP_GAP"


def test_backward_asks_for_x_and_gives_the_same_gradients(killed):
    trainer, _, gradients = killed
    for step, before in gradients.items():
        assert refusal(backward, trainer, step) == "INPUT_EVICTED"
        assert backward(trainer, step, batch("a", step)) == before


def test_backward_does_not_take_another_x(killed):
    trainer, _, _ = killed
    assert refusal(backward, trainer, STEPS, batch("a", 1)) == "STEP_REUSED"
