"""Disks that lose, fill, fail and rot."""

import pathlib
import sqlite3
import time

import grpc
import pytest

from scenarios import (SESSIONS, commit_failed, disk_filled, end,
                       old_backup_restored, power_cut_at_random)
from servers import FaultyServer
from small_disk import FileSizeLimit, small_file_system
from training import (Trainer, assert_nothing_went_wrong, in_threads, judge,
                      reason_of)

POWER_CUTS = 30


@pytest.fixture
def bad_disk(bin_dir, tmp_path, disk_library):
    """A server on a disk whose faults are switched by files: `full`, `bad`."""
    durable = tmp_path / "durable"
    durable.mkdir()
    disk = {"BN_DISK_DURABLE": str(durable),
            "BN_DISK_FULL": str(tmp_path / "full"),
            "BN_DISK_BAD": str(tmp_path / "bad")}
    with FaultyServer(bin_dir, tmp_path, disk=disk,
                      library=disk_library) as server:
        yield server


def test_a_power_failure_loses_nothing_that_was_acknowledged(
        bad_disk, reference, report):
    trainers, outcome = power_cut_at_random(bad_disk, reference, POWER_CUTS)
    report(outcome)
    assert outcome.acknowledged > POWER_CUTS
    assert_nothing_went_wrong(outcome, trainers)


class Switch:
    """disk.c's full disk, where every write fails and none is cut short."""

    def __init__(self, path):
        self.path = path

    def fill(self, _):
        self.path.touch()

    def free(self, _):
        self.path.unlink()


@pytest.fixture
def small_disk(request, tmp_path):
    data = tmp_path / "data"
    disk = FileSizeLimit() if request.param == "limit" else small_file_system(data)
    yield disk
    disk.close()


def test_a_full_disk_acknowledges_nothing_and_recovers(
        bad_disk, reference, tmp_path, report):
    trainers, outcome, while_full = disk_filled(
        bad_disk, reference, Switch(tmp_path / "full"), kills=False)
    report(outcome)
    assert while_full == 0
    assert "the disk failed" not in bad_disk.log()
    assert_nothing_went_wrong(outcome, trainers)


@pytest.mark.parametrize("small_disk, kills", [
    ("file system", False), ("file system", True), ("limit", False),
], indirect=["small_disk"])
def test_a_disk_without_room_acknowledges_nothing_and_recovers(
        bin_dir, tmp_path, reference, report, small_disk, kills):
    with FaultyServer(bin_dir, tmp_path, "--log-room", "0",
                      prefix=small_disk.prefix) as server:
        trainers, outcome, while_full = disk_filled(
            server, reference, small_disk, kills)
        ended_by_itself = "the disk failed" in server.log()
    report(outcome)
    assert while_full == 0
    # No room is not an I/O error: that one passes, and nobody restarts anything.
    assert ended_by_itself == isinstance(small_disk, FileSizeLimit)
    assert_nothing_went_wrong(outcome, trainers)


@pytest.mark.parametrize("small_disk", ["file system"], indirect=True)
def test_the_log_has_room_where_the_disk_has_none(
        bin_dir, tmp_path, reference, report, small_disk):
    if isinstance(small_disk, FileSizeLimit):
        pytest.skip("nothing may be mounted here")
    with FaultyServer(bin_dir, tmp_path, prefix=small_disk.prefix) as server:
        server.start()
        trainer = Trainer(server.address, "a", goal=3)
        trainer.run()
        small_disk.fill(server)
        trainer.goal = 50
        trainer.run()
        assert trainer.error is None
        server.kill()
        small_disk.free(server)
        server.start()
        trainer.goal = 53
        trainer.run()
        outcome = judge([trainer], reference, server.kills)
    report(outcome)
    assert outcome.acknowledged == 53
    assert_nothing_went_wrong(outcome, [trainer])


@pytest.mark.parametrize("number", [1, 2, 3, 8, 13])
def test_a_transaction_that_fails_loses_and_doubles_nothing(
        server, reference, report, number):
    trainers, outcome = commit_failed(server, reference, number)
    report(outcome)
    attempts = sum(trainer.attempts for trainer in trainers)
    # Each creates its session and asks for its final state once.
    assert attempts > outcome.acknowledged + 2 * len(trainers)
    assert_nothing_went_wrong(outcome, trainers)


def test_a_transaction_that_fails_is_no_reply(server, reference):
    trainers, _ = commit_failed(server, reference, 4, retries=False)
    refused = [t.error for t in trainers if t.error is not None]
    assert refused
    for error in refused:
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert reason_of(error) == "STORE_FAILED"


def test_a_full_disk_is_said_to_be_full(bad_disk, tmp_path):
    bad_disk.start()
    trainer = Trainer(bad_disk.address, "a", goal=3, retries=False)
    trainer.run()
    (tmp_path / "full").touch()
    trainer.goal = 4
    trainer.run()
    assert trainer.error.code() == grpc.StatusCode.UNAVAILABLE
    assert reason_of(trainer.error) == "STORE_FAILED"
    assert "full" in trainer.error.details()
    assert str(tmp_path) not in trainer.error.details()


def test_a_flush_that_fails_ends_the_server_and_loses_nothing(
        bad_disk, reference, tmp_path, report):
    bad_disk.start()
    trainers = [Trainer(bad_disk.address, name) for name in SESSIONS]
    threads = in_threads(trainers)
    time.sleep(0.3)
    (tmp_path / "bad").touch()
    assert bad_disk.process.wait(30) == 1
    assert "the disk failed" in bad_disk.log()
    (tmp_path / "bad").unlink()
    bad_disk.start()
    time.sleep(0.3)
    end(trainers, threads)
    outcome = judge(trainers, reference)
    report(outcome)
    assert_nothing_went_wrong(outcome, trainers)


def flip_a_byte_of(session, data):
    """In the file, where the session's statistics are."""
    path = pathlib.Path(data) / "sessions.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (body,) = connection.execute("SELECT body FROM rows WHERE key = ?",
                                     [session.encode()]).fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    at = content.find(body[9:33])
    assert at > 0 and content.find(body[9:33], at + 1) < 0
    content[at + 5] ^= 0x10
    path.write_bytes(content)


def test_a_flipped_byte_costs_that_session_and_no_other(
        server, reference, report):
    server.start()
    trainers = [Trainer(server.address, name, goal=10) for name in SESSIONS]
    for thread in in_threads(trainers):
        thread.join()
    server.stop()
    flip_a_byte_of("b", server.data)
    server.start()
    damaged = trainers.pop(SESSIONS.index("b"))
    damaged.goal = 11
    damaged.run()
    assert damaged.error.code() == grpc.StatusCode.DATA_LOSS
    assert reason_of(damaged.error) == "SESSION_DAMAGED"
    assert '"b"' in damaged.error.details()
    for trainer in trainers:
        trainer.goal = 20
    for thread in in_threads(trainers):
        thread.join()
    outcome = judge(trainers, reference)
    report(f"one session damaged, the others: {outcome}")
    assert_nothing_went_wrong(outcome, trainers)


def test_an_old_backup_is_never_a_silent_rollback(server, reference, report):
    trainer, outcome = old_backup_restored(server, reference)
    report(f"put back at step 20: {outcome}; then {reason_of(trainer.error)}")
    assert trainer.error.code() == grpc.StatusCode.DATA_LOSS
    assert reason_of(trainer.error) == "STEPS_LOST"
    assert outcome.lost == 10


def test_an_old_backup_is_not_inferred_with(server, reference):
    trainer, _ = old_backup_restored(server, reference)
    trainer.dial()
    with pytest.raises(grpc.RpcError) as refused:
        trainer.infer()
    assert refused.value.code() == grpc.StatusCode.DATA_LOSS
    assert reason_of(refused.value) == "STEPS_LOST"


def test_one_server_a_folder(server, bin_dir, tmp_path):
    server.start()
    (tmp_path / "second").mkdir()
    second = FaultyServer(bin_dir, tmp_path / "second", "--data-dir",
                          str(server.data))
    second.spawn()
    assert second.process.wait(30) == 1
    assert "another batchnormd uses it" in second.log()
