"""A trainer in plain stubs: what exactly-once takes of a client.

    python3 raw_trainer.py ADDRESS SESSION STEPS

It numbers its steps, says which reply it has seen, and sends a call whose
outcome is unknown again, as it was. With a writer token it finds out when
another run has taken over.
"""

import os
import sys
import time

import grpc

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import normalization_pb2, tensor_pb2

# [begin]
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
         grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED)


def call(method, request):
    """Until there is an answer: the same request, so the same step."""
    while True:
        try:
            return method(request, timeout=10)
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise  # DATA_LOSS: steps are lost. FENCED: another run took over
            time.sleep(0.05)


def train(stub, session, batches, seen):
    """`seen`: the last step that the checkpoint holds, 0 for none."""
    writer = call(stub.AcquireSession, pb.AcquireSessionRequest(
        name=session, at_least_step=seen, nonce=os.urandom(16)))
    step = writer.last_step
    for x in batches:
        reply = call(stub.Forward, pb.ForwardRequest(
            session=session, step=step + 1, acknowledged_step=step,
            writer_token=writer.writer_token,
            mode=normalization_pb2.MODE_TRAIN, x=x))
        step = reply.step
    return step
# [end]


def main(address, session, steps):
    stub = pb_grpc.BatchNormServiceStub(grpc.insecure_channel(address))
    x = tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_F32, shape=[2, 1],
                          data=bytes(8))
    print("last step", train(stub, session, [x] * int(steps), 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
