"""All-reduces of PyTorch's gloo, beside which a group's step is measured.

    gloo_peer.py RANKS DOUBLES

Rank 0 reads a line N from standard input and prints the seconds of one pair of
all-reduces (a forward's and a backward's vector), over N pairs.
"""

import os
import socket
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def other_main(rank, ranks, doubles, port):
    """Until rank 0 says so, or is gone."""
    try:
        rank_main(rank, ranks, doubles, port)
    except RuntimeError:
        pass


def rank_main(rank, ranks, doubles, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    forward = torch.ones(doubles, dtype=torch.float64)
    backward = torch.ones(doubles, dtype=torch.float64)
    count = torch.zeros(1, dtype=torch.int64)
    if rank == 0:
        print("ready", flush=True)
    while True:
        if rank == 0:
            line = sys.stdin.readline()
            count[0] = int(line) if line else 0
        dist.broadcast(count, 0)
        if count == 0:
            return
        begin = time.perf_counter()
        for _ in range(int(count)):
            dist.all_reduce(forward)
            dist.all_reduce(backward)
        if rank == 0:
            print((time.perf_counter() - begin) / int(count), flush=True)


def main(ranks, doubles):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    others = [multiprocessing.Process(
        target=other_main, args=(rank, ranks, doubles, port), daemon=True)
        for rank in range(1, ranks)]
    for other in others:
        other.start()
    rank_main(0, ranks, doubles, port)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
