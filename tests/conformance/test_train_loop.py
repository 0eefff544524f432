"""A training loop with nothing but grpcio and the generated stubs.

Kept as a user would write it, without the other modules' conveniences.
"""

import numpy as np

from batchnorm.v1 import batch_norm_service_pb2 as bn
from batchnorm.v1 import normalization_pb2, session_pb2, tensor_pb2


def to_tensor(array):
    return tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_F32, shape=array.shape,
                             data=array.astype("<f4").tobytes())


def to_array(tensor):
    kinds = {tensor_pb2.DTYPE_F32: "<f4", tensor_pb2.DTYPE_F64: "<f8"}
    flat = np.frombuffer(tensor.data, kinds[tensor.dtype])
    return flat.reshape(tuple(tensor.shape))


def test_a_layer_whose_gamma_and_beta_learn_a_target(service):
    random = np.random.default_rng(0)
    inputs = random.normal(5.0, 3.0, size=(64, 2)).astype(np.float32)
    target = (inputs - inputs.mean(0)) / inputs.std(0) * [2, -1] + [0.5, 3]

    session = service.CreateSession(bn.CreateSessionRequest(
        config=session_pb2.SessionConfig(channels=2))).session.name
    gamma, beta, losses = np.ones(2), np.zeros(2), []
    for step in range(1, 31):
        forward = bn.ForwardRequest(
            session=session, step=step, mode=normalization_pb2.MODE_TRAIN,
            gamma=to_tensor(gamma), beta=to_tensor(beta), x=to_tensor(inputs))
        y = to_array(service.Forward(forward).y)
        error = y - target
        losses.append(np.mean(error**2))
        gradients = service.Backward(bn.BackwardRequest(
            session=session, step=step, dy=to_tensor(2 * error / len(error))))
        gamma = gamma - 0.2 * to_array(gradients.dgamma)
        beta = beta - 0.2 * to_array(gradients.dbeta)
    service.DeleteSession(bn.DeleteSessionRequest(name=session))

    assert losses[0] > 1 and losses[-1] < 1e-6, losses
    np.testing.assert_allclose(gamma, [2, -1], rtol=1e-3)
    np.testing.assert_allclose(beta, [0.5, 3], rtol=1e-3)


def test_a_forward_sent_again_is_a_replay_and_trailing_metadata_says_so(
        service):
    session = service.CreateSession(bn.CreateSessionRequest(
        config=session_pb2.SessionConfig(channels=2))).session.name
    batch = np.array([[1, 2], [3, 5]], np.float32)
    request = bn.ForwardRequest(session=session, step=1, x=to_tensor(batch),
                                mode=normalization_pb2.MODE_TRAIN)
    first, first_call = service.Forward.with_call(request)
    again, again_call = service.Forward.with_call(request)
    state = service.GetSession(bn.GetSessionRequest(name=session)).session
    service.DeleteSession(bn.DeleteSessionRequest(name=session))

    assert "replayed" not in dict(first_call.trailing_metadata())
    assert dict(again_call.trailing_metadata())["replayed"] == "true"
    assert again == first
    assert (state.last_step, state.running_statistics.batch_count) == (1, 1)
    assert state.counters.forward_count == state.counters.replay_count == 1
