"""Training runs over a bad network, and the same ones where nothing goes wrong.

A trainer is what a well-behaved client is: it sends each step until it has a
reply, always under one number, and says what it has seen. The switches take
one of its protections away.
"""

import dataclasses
import random
import struct
import threading
import time

import grpc

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import normalization_pb2, session_pb2, tensor_pb2
from google.rpc import error_details_pb2, status_pb2

from servers import dial

CHANNELS = 3
ROWS = 4
GIVE_UP_SECONDS = 120
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
         grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED)


GONE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS)


def is_replay(call):
    return any(key == "replayed" for key, _ in call.trailing_metadata())


def reason_of(error):
    """The stable reason that a refusal carries, or ''."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""


def batch(session, step):
    """What a session is fed at a step: the same in every run."""
    noise = random.Random(f"{session} {step}")
    values = [noise.gauss(step % 7, 1 + step % 3) for _ in range(ROWS * CHANNELS)]
    return tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_F64, shape=[ROWS, CHANNELS],
                             data=struct.pack(f"<{len(values)}d", *values))


@dataclasses.dataclass
class Trainer:
    """Trains one session to `goal`, or until `ended` is set."""

    address: str
    session: str
    goal: int = 1 << 60
    timeout: float = 2.0
    says_what_it_saw: bool = True  # acknowledged_step
    numbers_steps: bool = True     # else step 0, "the next"
    retries: bool = True
    renumbers_retries: bool = False  # a retry is taken for another step
    writer_token: str = ""

    def __post_init__(self):
        self.channel = None
        self.dial()
        self.ended = threading.Event()
        self.acknowledged = 0          # batches, which are steps if all is well
        self.last_step = 0             # as the latest reply named it
        self.replayed = 0
        self.attempts = 0
        self.error = None

    def dial(self):
        """A connection of one's own. After a failure a new one: gRPC waits long
        for a server that died while it was being greeted."""
        if self.channel is not None:
            self.channel.close()
        self.channel = dial(self.address)
        self.stub = pb_grpc.BatchNormServiceStub(self.channel)

    def call(self, method, request):
        """The reply, however often it takes to get one."""
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            self.attempts += 1
            try:
                return getattr(self.stub, method).with_call(
                    request, timeout=self.timeout)
            except grpc.RpcError as error:
                again = error.code() in AGAIN and self.retries
                if not again or time.monotonic() > give_up:
                    raise
                if self.renumbers_retries and method == "Forward":
                    request.step += 1
                time.sleep(0.003)
                self.dial()

    def create(self):
        request = pb.CreateSessionRequest(
            name=self.session,
            config=session_pb2.SessionConfig(channels=CHANNELS))
        self.call("CreateSession", request)

    def seen(self):
        return self.acknowledged if self.says_what_it_saw else 0

    def take_step(self):
        request = pb.ForwardRequest(
            session=self.session,
            step=self.last_step + 1 if self.numbers_steps else 0,
            mode=normalization_pb2.MODE_TRAIN, writer_token=self.writer_token,
            acknowledged_step=self.seen(),
            x=batch(self.session, self.acknowledged + 1))
        reply, call = self.call("Forward", request)
        self.replayed += is_replay(call)
        self.acknowledged += 1
        self.last_step = reply.step

    def go_on_after(self, step):
        """As a run that resumes where another one, or a checkpoint, stands."""
        self.acknowledged = self.last_step = step

    def infer(self):
        """The step of the statistics that a batch is normalized with."""
        request = pb.ForwardRequest(
            session=self.session, mode=normalization_pb2.MODE_INFERENCE,
            acknowledged_step=self.seen(), x=batch(self.session, 1))
        return self.call("Forward", request)[0].statistics_step

    def run(self):
        """Ends at the goal, or with what refused a step in `error`."""
        try:
            self.create()
            while self.acknowledged < self.goal and not self.ended.is_set():
                self.take_step()
        except grpc.RpcError as error:
            self.error = error

    def final(self):
        """What the server has of the session; nothing, if it is gone."""
        self.dial()  # a run that gave up has a connection that still waits
        request = pb.GetSessionRequest(name=self.session)
        try:
            reply, _ = self.call("GetSession", request)
        except grpc.RpcError as error:
            if error.code() not in GONE:
                raise
            return Final(0, 0, b"", b"")
        return Final.of(reply.session)


@dataclasses.dataclass(frozen=True)
class Final:
    """All that a run leaves behind."""

    last_step: int
    batches: int
    mean: bytes
    var: bytes

    @staticmethod
    def of(session):
        running = session.running_statistics
        return Final(session.last_step, running.batch_count,
                     running.mean.data, running.var.data)


def in_threads(trainers):
    threads = [threading.Thread(target=trainer.run) for trainer in trainers]
    for thread in threads:
        thread.start()
    return threads


@dataclasses.dataclass
class Outcome:
    """What a scenario is judged by. `differing` names sessions whose bytes are
    not those of the run without faults."""

    kills: int
    acknowledged: int
    lost: int
    doubled: int
    differing: list

    def __str__(self):
        return (f"kills {self.kills}, acknowledged {self.acknowledged}, lost "
                f"{self.lost}, doubled {self.doubled}, differing "
                f"{len(self.differing)}")


def undisturbed(server, session, steps):
    """The same run where nothing goes wrong."""
    trainer = Trainer(server.address, session, goal=steps)
    trainer.run()
    assert trainer.error is None, trainer.error
    final = trainer.final()
    trainer.stub.DeleteSession(pb.DeleteSessionRequest(name=session))
    trainer.channel.close()
    return final


def judge(trainers, reference, kills=0):
    """Compares each session with its run without faults."""
    outcome = Outcome(kills, 0, 0, 0, [])
    for trainer in trainers:
        final = trainer.final()
        trainer.channel.close()
        outcome.acknowledged += trainer.acknowledged
        outcome.lost += max(0, trainer.acknowledged - final.last_step)
        outcome.doubled += max(0, final.batches - trainer.acknowledged)
        expected = undisturbed(reference, trainer.session, trainer.acknowledged)
        if final != expected:
            outcome.differing.append(trainer.session)
    return outcome


def assert_nothing_went_wrong(outcome, trainers):
    assert [t.error for t in trainers] == [None] * len(trainers)
    assert (outcome.lost, outcome.doubled, outcome.differing) == (0, 0, [])
