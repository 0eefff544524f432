"""Create, Acquire, Import and Delete last, too, and are safe to send again: a
kill between the change and its reply makes no difference that anybody sees."""

import threading

import grpc
import pytest

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import session_pb2

from training import CHANNELS, Trainer, reason_of, undisturbed

STEPS = 5
NONCE = b"0123456789abcdef"


def create_anew(trainer):
    return trainer.call("CreateSession", pb.CreateSessionRequest(
        name="new", config=session_pb2.SessionConfig(channels=CHANNELS)))[0]


def acquire(trainer):
    return trainer.call("AcquireSession", pb.AcquireSessionRequest(
        name="a", at_least_step=STEPS, nonce=NONCE))[0]


def import_as(name, replace):
    """What "checkpoint" holds, into another session."""
    def send(trainer):
        exported, _ = trainer.call("ExportSession", pb.ExportSessionRequest(
            name="checkpoint"))
        return trainer.call("ImportSession", pb.ImportSessionRequest(
            name=name, snapshot=exported.snapshot, replace=replace))[0]
    return send


CHANGES = {"create": create_anew, "acquire": acquire,
           "import": import_as("new", False), "replace": import_as("a", True)}


def prepare(server):
    """A session that is about to be changed, and one to be imported."""
    trainer = Trainer(server.address, "a", goal=STEPS)
    checkpoint = Trainer(server.address, "checkpoint", goal=STEPS + 2)
    for each in (trainer, checkpoint):
        each.run()
        assert each.error is None
    checkpoint.channel.close()
    return trainer


def is_fenced(server, token):
    """Whether "a" refuses the token, asked by a replay, which changes nothing."""
    probe = Trainer(server.address, "a", writer_token=token)
    probe.go_on_after(probe.final().last_step - 1)
    try:
        probe.take_step()
    except grpc.RpcError as error:
        return reason_of(error) == "FENCED"
    return False


def everything(server):
    """All that can be seen of all sessions."""
    reader = Trainer(server.address, "")
    finals = []
    for reader.session in ("a", "checkpoint", "new"):
        finals.append(reader.final())
    listed, _ = reader.call("ListSessions", pb.ListSessionsRequest())
    reader.channel.close()
    return finals, [(s.name, s.last_step, s.config) for s in listed.sessions]


@pytest.fixture(params=CHANGES)
def change(request):
    return CHANGES[request.param]


def test_a_reply_lasts(server, change):
    server.start()
    trainer = prepare(server)
    before = everything(server)
    change(trainer)
    told = everything(server)
    server.kill()
    server.start()
    assert everything(server) == told
    assert change is acquire or told != before


def changed_while_killed(server, change, failpoint):
    """The change is sent until it is answered; its server dies on the way. A
    change that took two transactions would not survive the second failpoint."""
    server.start()
    trainer = prepare(server)
    trainer.channel.close()  # or the server waits for its peer
    server.stop()
    trainer.dial()
    server.spawn(f"kill@{failpoint}:1")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(change(trainer)))
    thread.start()
    server.await_death()
    server.start()
    thread.join()
    return answers


@pytest.mark.parametrize("failpoint", ["before_commit", "after_commit"])
def test_sent_again_after_a_kill_it_is_made_once(
        server, tmp_path, bin_dir, change, failpoint):
    assert len(changed_while_killed(server, change, failpoint)) == 1
    disturbed = everything(server)
    server.stop()
    server.data = tmp_path / "undisturbed"
    server.start()
    change(prepare(server))
    assert disturbed == everything(server)


@pytest.mark.parametrize("failpoint", ["before_commit", "after_commit"])
def test_a_writer_that_asked_twice_is_one_writer(server, failpoint):
    (first,) = changed_while_killed(server, acquire, failpoint)
    again = acquire(Trainer(server.address, "a"))
    assert again.writer_token == first.writer_token
    assert first.last_step == again.last_step == STEPS
    assert not is_fenced(server, first.writer_token)
    assert is_fenced(server, "a token of nobody")


def test_a_deleted_session_stays_deleted(server, reference):
    server.start()
    trainer = prepare(server)
    trainer.call("DeleteSession", pb.DeleteSessionRequest(name="a"))
    server.kill()
    server.start()
    assert trainer.final().last_step == 0
    assert [name for name, *_ in everything(server)[1]] == ["checkpoint"]
    # The name is free, and nothing of the former session is in the new one.
    anew = Trainer(server.address, "a", goal=3)
    anew.run()
    assert anew.error is None
    assert anew.final() == undisturbed(reference, "a", 3)
