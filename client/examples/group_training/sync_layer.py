"""One batch-norm layer, which a group of ranks shares, over the wire."""

import hashlib
import threading
import time

import grpc
import numpy as np

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import normalization_pb2, tensor_pb2
from google.rpc import error_details_pb2, status_pb2

AGAIN = (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE,
         grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
DTYPES = {"f": tensor_pb2.DTYPE_F32, "d": tensor_pb2.DTYPE_F64}


def tensor(values):
    return tensor_pb2.Tensor(dtype=DTYPES[values.dtype.char],
                             shape=values.shape, data=values.tobytes())


def numbers(message):
    dtype = "<f4" if message.dtype == tensor_pb2.DTYPE_F32 else "<f8"
    return np.frombuffer(message.data, dtype).reshape(message.shape)


def reason(error):
    status = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(status or b"").details:
        if detail.Unpack(info):
            return info.reason
    return ""


def call(method, request):
    """Until there is an answer: the same request, so the same step."""
    while True:
        try:
            return method(request, timeout=30)
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
            time.sleep(0.05)


class SyncLayer:
    def __init__(self, channel, session, rank, job):
        self.stub = pb_grpc.BatchNormServiceStub(channel)
        self.session, self.rank = session, rank
        self.held = None  # x and gamma of the step whose Backward is to come
        self.record = []  # what the server said, for those who compare
        threading.Thread(target=self.stay_joined, args=(job,),
                         daemon=True).start()

    def stay_joined(self, job):
        """So that the others are told at once when this process dies."""
        request = pb.JoinRequest(session=self.session, rank=self.rank, job=job)
        while True:
            try:
                for _ in self.stub.Join(request):
                    pass
            except grpc.RpcError as error:
                # Of a former self that the server has not yet missed, too.
                if error.code() not in AGAIN:
                    raise
            time.sleep(0.05)

    def forward(self, step, x, gamma, beta):
        self.held = {"x": tensor(x), "gamma": tensor(gamma)}
        reply = call(self.stub.Forward, pb.ForwardRequest(
            session=self.session, rank=self.rank, step=step,
            acknowledged_step=step - 1, mode=normalization_pb2.MODE_TRAIN,
            beta=tensor(beta), **self.held))
        self.note(step, "forward", (x, gamma, beta), reply.y.data,
                  reply.statistics.SerializeToString(deterministic=True))
        return numbers(reply.y)

    def backward(self, step, dy):
        request = pb.BackwardRequest(
            session=self.session, rank=self.rank, step=step,
            acknowledged_step=step, dy=tensor(dy))
        try:
            reply = call(self.stub.Backward, request)
        except grpc.RpcError as error:
            if reason(error) != "INPUT_EVICTED":
                raise
            # A server that was started again has no inputs.
            reply = call(self.stub.Backward, pb.BackwardRequest(
                session=self.session, rank=self.rank, step=step,
                acknowledged_step=step, dy=tensor(dy), **self.held))
        self.note(step, "backward", (dy,), reply.dx.data, reply.dgamma.data,
                  reply.dbeta.data)
        return numbers(reply.dx), numbers(reply.dgamma), numbers(reply.dbeta)

    def note(self, step, phase, sent, *received):
        digest = hashlib.sha256(b"".join(received)).hexdigest()
        self.record.append((self.session, step, phase, sent, received, digest))
