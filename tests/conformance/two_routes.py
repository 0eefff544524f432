"""One batch-norm layer, reached by either route of the service.

EvaluateLayer keeps the running statistics itself and sends them with every
stateless call; SessionLayer leaves them with a session. What a test says of
one, it can say of the other.
"""

import dataclasses
from typing import Optional

import numpy as np

from batchnorm.v1 import batch_norm_service_pb2 as api
from batchnorm.v1 import normalization_pb2 as norm
from batchnorm.v1 import session_pb2
from wire_tensors import pack, unpack

ROUTES = ("evaluate", "session")


@dataclasses.dataclass
class Batch:
    """The inputs of one step. dtype is that of x and dy."""
    x: np.ndarray
    dtype: str = "f64"
    gamma: Optional[np.ndarray] = None
    beta: Optional[np.ndarray] = None
    dy: Optional[np.ndarray] = None
    parameter_dtype: str = "f64"


@dataclasses.dataclass
class Statistics:
    count: int
    mean: np.ndarray
    mean_lo: np.ndarray
    var: np.ndarray
    inv_std: np.ndarray


@dataclasses.dataclass
class Running:
    mean: np.ndarray
    var: np.ndarray
    batch_count: int


@dataclasses.dataclass
class Result:
    """What one step or one inference gave; gradients only if dy was given."""
    y: np.ndarray
    statistics: Optional[Statistics] = None
    dx: Optional[np.ndarray] = None
    dgamma: Optional[np.ndarray] = None
    dbeta: Optional[np.ndarray] = None


def optional_tensor(array, dtype):
    return None if array is None else pack(array, dtype)


def statistics_of(message):
    return Statistics(message.count, unpack(message.mean),
                      unpack(message.mean_lo), unpack(message.var),
                      unpack(message.inv_std))


def running_of(message):
    return Running(unpack(message.mean), unpack(message.var),
                   message.batch_count)


def running_message(running):
    return norm.RunningStatistics(mean=pack(running.mean, "f64"),
                                  var=pack(running.var, "f64"),
                                  batch_count=running.batch_count)


def evaluate_request(mode, batch, normalization, running=None, outputs=()):
    return api.EvaluateRequest(
        mode=mode, outputs=outputs, normalization=normalization,
        running_statistics=None if running is None else running_message(
            running),
        gamma=optional_tensor(batch.gamma, batch.parameter_dtype),
        beta=optional_tensor(batch.beta, batch.parameter_dtype),
        dy=optional_tensor(batch.dy, batch.dtype),
        x=pack(batch.x, batch.dtype))


def evaluate(service, mode, batch, normalization, running=None, outputs=()):
    """One Evaluate call: its Result, and the raw response."""
    response = service.Evaluate(
        evaluate_request(mode, batch, normalization, running, outputs))
    result = Result(unpack(response.y) if response.HasField("y") else None)
    if response.HasField("statistics"):
        result.statistics = statistics_of(response.statistics)
    for name in ("dx", "dgamma", "dbeta"):
        if response.HasField(name):
            setattr(result, name, unpack(getattr(response, name)))
    return result, response


class EvaluateLayer:
    def __init__(self, service, channels, normalization):
        self._service = service
        self._normalization = normalization
        self._running = Running(np.zeros(channels), np.ones(channels), 0)

    def train(self, batch, new_weight=None):
        normalization = norm.Normalization()
        normalization.CopyFrom(self._normalization)
        if new_weight is not None:
            normalization.new_weight = new_weight
        result, response = evaluate(self._service, norm.MODE_TRAIN, batch,
                                    normalization, self._running)
        self._running = running_of(response.running_statistics)
        return result

    def inference(self, batch):
        return evaluate(self._service, norm.MODE_INFERENCE, batch,
                        self._normalization, self._running)[0]

    def running(self):
        return self._running

    def close(self):
        pass


class SessionLayer:
    def __init__(self, service, channels, normalization, **config):
        self._service = service
        self._normalization = normalization
        created = service.CreateSession(api.CreateSessionRequest(
            config=session_pb2.SessionConfig(
                channels=channels, normalization=normalization, **config)))
        self.name = created.session.name
        self.step = 0

    def train(self, batch, new_weight=None):
        response = self._service.Forward(self._forward_request(
            batch, norm.MODE_TRAIN, self.step + 1, new_weight))
        self.step = response.step
        result = Result(unpack(response.y),
                        statistics_of(response.statistics))
        if batch.dy is not None:
            self._add_gradients(result, self.backward(batch))
        return result

    def inference(self, batch):
        """y by the session; gradients, as the contract says, by Evaluate
        with the session's running statistics."""
        response = self._service.Forward(
            self._forward_request(batch, norm.MODE_INFERENCE, 0, None))
        result = Result(unpack(response.y))
        if batch.dy is not None:
            gradients = self._service.Evaluate(evaluate_request(
                norm.MODE_INFERENCE, batch, self._normalization,
                self.running()))
            self._add_gradients(result, gradients)
        return result

    def backward(self, batch, step=None):
        """The raw response; x is the one that the server keeps."""
        return self._service.Backward(api.BackwardRequest(
            session=self.name, step=step or self.step,
            dy=pack(batch.dy, batch.dtype)))

    def running(self):
        session = self._service.GetSession(
            api.GetSessionRequest(name=self.name)).session
        return running_of(session.running_statistics)

    def close(self):
        self._service.DeleteSession(api.DeleteSessionRequest(name=self.name))

    def _forward_request(self, batch, mode, step, new_weight):
        return api.ForwardRequest(
            session=self.name, step=step, mode=mode, new_weight=new_weight,
            gamma=optional_tensor(batch.gamma, batch.parameter_dtype),
            beta=optional_tensor(batch.beta, batch.parameter_dtype),
            x=pack(batch.x, batch.dtype))

    @staticmethod
    def _add_gradients(result, response):
        result.dx = unpack(response.dx)
        result.dgamma = unpack(response.dgamma)
        result.dbeta = unpack(response.dbeta)


def open_layer(service, route, channels, normalization, **session_config):
    """session_config has no meaning for Evaluate and is ignored there."""
    if route == "evaluate":
        return EvaluateLayer(service, channels, normalization)
    return SessionLayer(service, channels, normalization, **session_config)
