"""A rank in a process of its own, to be killed or stopped.

    python3 rank_process.py ADDRESS SESSION RANK WHAT...

WHAT is done in order: join, forward:STEP, backward:STEP, wait. Prints a line
when each is done. PYTHONPATH is that of the tests.
"""

import sys
import time

import generated_stubs  # noqa: F401  (makes batchnorm.v1 importable)
from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import normalization_pb2
from group import dy_of, shard, tensor
from servers import dial
from sync_worker import call


def main(address, session, rank, *what):
    stub = pb_grpc.BatchNormServiceStub(dial(address))
    rank = int(rank)
    for each in what:
        name, _, step = each.partition(":")
        if name == "join":
            stream = stub.Join(pb.JoinRequest(
                session=session, rank=rank, job="job"))
            next(stream)
        elif name == "forward":
            call(stub.Forward, pb.ForwardRequest(
                session=session, rank=rank, step=int(step),
                mode=normalization_pb2.MODE_TRAIN,
                x=tensor(shard(rank, int(step)))))
        elif name == "backward":
            call(stub.Backward, pb.BackwardRequest(
                session=session, rank=rank, step=int(step),
                dy=tensor(dy_of(rank, int(step)))))
        else:
            time.sleep(60)
        print(each, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
