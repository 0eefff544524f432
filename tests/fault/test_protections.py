"""Each protection, switched off once: the runner must turn red, or it proves
nothing when it is green."""

import pytest

from scenarios import (killed_at_random, old_backup_restored,
                       power_cut_at_random, replies_lost)
from servers import FaultyServer
from training import Trainer

KILLS = 15


@pytest.fixture
def careless_disk(bin_dir, tmp_path, disk_library):
    durable = tmp_path / "durable"
    durable.mkdir()
    with FaultyServer(bin_dir, tmp_path, "--durability", "off",
                      disk={"BN_DISK_DURABLE": str(durable)},
                      library=disk_library) as server:
        yield server


def test_without_flushes_a_power_failure_loses_steps(careless_disk):
    careless_disk.start()
    trainer = Trainer(careless_disk.address, "a", goal=20)
    trainer.run()
    assert trainer.error is None
    careless_disk.cut_power()
    careless_disk.start()
    trainer.goal = 21
    trainer.run()  # creates the session anew, and finds its steps gone
    assert trainer.error is not None


def test_commits_after_replies_lose_steps(server, reference):
    trainer = Trainer(server.address, "a", goal=20)
    server.start("ack_before_commit")
    trainer.create()
    server.stop()
    server.start("ack_before_commit")
    trainer.run()
    server.kill()
    server.start()
    assert trainer.final().last_step < trainer.acknowledged


def test_without_step_numbers_lost_replies_double_steps(
        server, reference, tmp_path):
    trainers, outcome, dropped = replies_lost(
        server, reference, tmp_path, 20, numbers_steps=False)
    assert dropped == 20
    assert outcome.doubled > 0
    assert outcome.differing


def test_without_acknowledged_steps_an_old_backup_goes_unnoticed(
        server, reference):
    # Without step numbers, too: else the gap is noticed.
    trainer, outcome = old_backup_restored(
        server, reference, says_what_it_saw=False, numbers_steps=False)
    assert trainer.error is None
    assert outcome.lost == 10
    assert outcome.differing == ["a"]


def test_without_retries_a_kill_is_a_failure(server, reference):
    trainers, _ = killed_at_random(server, reference, 1, retries=False)
    assert any(trainer.error is not None for trainer in trainers)
