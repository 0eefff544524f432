"""A proxy that loses replies: between a client and a Unix socket."""

import os
import random
import select
import socket
import threading

# A reply to a step is longer than all that HTTP/2 says on its own account.
REPLY_BYTES = 200


class LossyProxy:
    """Forwards, but closes the connection instead of passing on a reply, each
    time with `probability`, at most `most` times in all."""

    def __init__(self, folder, target, probability, most):
        self.path = str(folder / "proxy")
        self.address = f"unix:{self.path}"
        self.target = target
        self.probability = probability
        self.left = most
        self.dropped = 0
        self.random = random.Random(1)
        self.stopped = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()

    def accept(self):
        threads = []
        while True:
            client, _ = self.listener.accept()
            if self.stopped:
                client.close()
                break
            threads.append(threading.Thread(target=self.forward, args=[client]))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def loses(self, chunk):
        if len(chunk) < REPLY_BYTES or self.left == 0:
            return False
        if self.random.random() >= self.probability:
            return False
        self.left -= 1
        self.dropped += 1
        return True

    def forward(self, client):
        server = socket.socket(socket.AF_UNIX)
        with client, server:
            try:
                server.connect(str(self.target))
                while not self.stopped and self.pass_on(client, server):
                    pass
            except OSError:
                pass  # one side went away, and so does the other

    def pass_on(self, client, server):
        readable, _, _ = select.select([client, server], [], [], 0.2)
        for source in readable:
            chunk = source.recv(1 << 16)
            if not chunk or (source is server and self.loses(chunk)):
                return False
            (client if source is server else server).sendall(chunk)
        return True

    def close(self):
        self.stopped = True
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(self.path)
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
