"""A group's calls in plain stubs, and what its errors say."""

import concurrent.futures
import contextlib
import time

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import normalization_pb2, session_pb2, tensor_pb2
from servers import dial
from sync_worker import call

CHANNELS = 3
BARRIER_SECONDS = 3  # how long the ranks of conftest's server wait


def tensor(values):
    return tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_F64, shape=values.shape,
                             data=values.astype("<f8").tobytes())


def numbers(message):
    return np.frombuffer(message.data, "<f8").reshape(message.shape)


def shard(rank, step, size=None):
    """What a rank sends: sizes differ, and rank 2's is empty."""
    size = {0: 5, 2: 0}.get(rank, 3) if size is None else size
    return np.random.default_rng([rank, step]).normal(
        3, 2, size=(size, CHANNELS))


def dy_of(rank, step):
    return np.random.default_rng([7, rank, step]).normal(
        size=shard(rank, step).shape)


class Refused:
    """What an error says to a program."""

    def __init__(self, error):
        self.code = error.code()
        self.reason, self.metadata, self.retry = "", {}, None
        details = dict(error.trailing_metadata() or ()).get(
            "grpc-status-details-bin")
        if details is None:
            return
        for detail in status_pb2.Status.FromString(details).details:
            self.read(detail)

    def read(self, detail):
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            self.reason, self.metadata = info.reason, dict(info.metadata)
        elif any_pb2.Any.Is(detail, retry.DESCRIPTOR):
            self.retry = True


class Group:
    """A session of `ranks` ranks, each with a connection of its own."""

    def __init__(self, server, ranks, name="group", **config):
        self.server, self.ranks, self.name = server, ranks, name
        self.channels = [dial(server.address) for _ in range(ranks + 1)]
        self.stubs = [pb_grpc.BatchNormServiceStub(c) for c in self.channels]
        self.stub = self.stubs[ranks]  # nobody's
        self.pool = concurrent.futures.ThreadPoolExecutor(4 * ranks)
        self.stub.CreateSession(pb.CreateSessionRequest(
            name=name, config=session_pb2.SessionConfig(
                **{"channels": CHANNELS, "world_size": ranks, **config})))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for channel in self.channels:
            channel.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    # Requests

    def forward_of(self, rank, step, **fields):
        return pb.ForwardRequest(**{
            "session": self.name, "rank": rank, "step": step,
            "acknowledged_step": step - 1, "mode": normalization_pb2.MODE_TRAIN,
            "x": tensor(shard(rank, step)), **fields})

    def backward_of(self, rank, step, **fields):
        return pb.BackwardRequest(**{
            "session": self.name, "rank": rank, "step": step,
            "dy": tensor(dy_of(rank, step)), **fields})

    # Calls

    def method_of(self, request):
        stub = self.stubs[request.rank]
        return (stub.Forward if isinstance(request, pb.ForwardRequest)
                else stub.Backward)

    def begin(self, request, timeout=30):
        """A call that may wait, on a thread of its own."""
        return self.pool.submit(self.method_of(request), request,
                                timeout=timeout)

    def persist(self, request):
        """The same, sent again until there is an answer."""
        return self.pool.submit(call, self.method_of(request), request)

    def step(self, step, **fields):
        return self.all(self.forward_of, step, **fields)

    def gradients(self, step, **fields):
        return self.all(self.backward_of, step, **fields)

    def all(self, request_of, step, **fields):
        calls = [self.begin(request_of(rank, step, **fields))
                 for rank in range(self.ranks)]
        return [call.result(30) for call in calls]

    def session(self):
        return self.stub.GetSession(
            pb.GetSessionRequest(name=self.name), timeout=10).session

    def await_ranks(self, *ranks):
        """Until exactly these wait at the one barrier there is."""
        deadline = time.monotonic() + 10
        while True:
            barriers = self.session().group.barriers
            if barriers and list(barriers[0].present_ranks) == list(ranks):
                return barriers[0]
            assert time.monotonic() < deadline, barriers
            time.sleep(0.01)


def refusal(call, seconds=30):
    """The error that a call ends with."""
    try:
        call.result(seconds)
    except grpc.RpcError as error:
        return Refused(error)
    raise AssertionError("expected an error, got an answer")


def assert_aborted(told, reason, **metadata):
    assert told.code == grpc.StatusCode.ABORTED
    assert told.reason == reason
    assert told.retry, "a RetryInfo says that it may be sent again"
    for key, value in metadata.items():
        assert told.metadata[key] == value, (key, told.metadata)


def outcome(call):
    """Its reply, or the Refused."""
    with contextlib.suppress(grpc.RpcError):
        return call.result(30)
    return refusal(call)


def same_answers(first, second):
    return ([a.SerializeToString(deterministic=True) for a in first]
            == [b.SerializeToString(deterministic=True) for b in second])
