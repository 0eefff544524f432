"""A rank: computes the gradients of its shard when the parent asks for them.

    python3 worker.py ADDRESS RANK JOB SESSION...

Requests and replies are pickles on standard input and output, of the parent
alone. It holds nothing that the next one does not get.
"""

import pickle
import sys

import grpc

import network
from sync_layer import SyncLayer


def main(address, rank, job, *sessions):
    channel = grpc.insecure_channel(address, options=[
        ("grpc.initial_reconnect_backoff_ms", 20),
        ("grpc.min_reconnect_backoff_ms", 20),
        ("grpc.max_reconnect_backoff_ms", 100)])
    layers = [SyncLayer(channel, name, int(rank), job) for name in sessions]
    replies = sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may speak to the parent
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        for layer in layers:
            layer.record.clear()
        loss, gradients = network.gradients(
            task["weights"], task["pixels"], task["labels"],
            task["batch_size"], layers, task["step"])
        record = [each for layer in layers for each in layer.record]
        pickle.dump((loss, gradients, record), replies)
        replies.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
