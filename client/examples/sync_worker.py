"""A rank of a synchronized batch norm with kernels of its own, in numpy.

It sends two sums a channel, and gets back what the whole batch comes to:

    python3 sync_worker.py ADDRESS SESSION RANK

with batchnorm/v1's generated stubs on the path. Plain f64 sums, as here, give
what their own rounding allows, whatever the order in which ranks come; exact
sums (several limbs, see group.proto) give the bits of one process.
"""

import sys
import time

import grpc
import numpy as np

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import group_pb2, tensor_pb2

AGAIN = (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE,
         grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def call(method, request):
    """Until there is an answer: the same request, so the same step."""
    while True:
        try:
            return method(request, timeout=60)
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
            time.sleep(0.1)


def one_limb(sums):
    return group_pb2.Expansion(limbs=tensor_pb2.Tensor(
        dtype=tensor_pb2.DTYPE_F64, shape=[1, sums.size],
        data=sums.astype("<f8").tobytes()))


def numbers(tensor):
    return np.frombuffer(tensor.data, "<f8")


# [begin]
class SyncedBatchNorm:
    """x and dy are n x C, this rank's shard; n may differ from rank to rank."""

    def __init__(self, stub, session, rank):
        self.stub, self.session, self.rank = stub, session, rank

    def sync(self, step, **sums):
        return call(self.stub.Sync, pb.SyncRequest(
            session=self.session, rank=self.rank, step=step,
            acknowledged_step=max(step - 1, 0), **sums))

    def forward(self, step, x, gamma, beta):
        x = x.astype(np.float64)
        whole = self.sync(step, forward=group_pb2.ForwardSums(
            count=len(x), sum=one_limb(x.sum(axis=0)),
            sum_of_squares=one_limb((x * x).sum(axis=0)))).statistics
        centered = x - numbers(whole.mean) - numbers(whole.mean_lo)
        return gamma * (centered * numbers(whole.inv_std)) + beta

    def backward(self, step, x, gamma, dy):
        x, dy = x.astype(np.float64), dy.astype(np.float64)
        reply = self.sync(step, backward=group_pb2.BackwardSums(
            sum_dy=one_limb(dy.sum(axis=0)),
            sum_dy_x=one_limb((dy * x).sum(axis=0))))
        whole, gradients = reply.statistics, reply.gradients
        centered = x - numbers(whole.mean) - numbers(whole.mean_lo)
        dx = gamma * numbers(whole.inv_std) * (
            dy - numbers(gradients.mean_dy) - numbers(gradients.mean_dy_lo)
            - centered * numbers(gradients.k))
        return dx, numbers(gradients.dgamma), numbers(gradients.dbeta)
# [end]


def main(address, session, rank):
    layer = SyncedBatchNorm(
        pb_grpc.BatchNormServiceStub(grpc.insecure_channel(address)), session,
        int(rank))
    noise = np.random.default_rng(int(rank))
    x = noise.normal(size=(8 + int(rank), 2))
    y = layer.forward(1, x, np.ones(2), np.zeros(2))
    dx, dgamma, dbeta = layer.backward(1, x, np.ones(2), np.cos(y))
    print("mean of y", y.mean(axis=0), "dgamma", dgamma, "dbeta", dbeta)


if __name__ == "__main__":
    main(*sys.argv[1:])
