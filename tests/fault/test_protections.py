"""Each protection, switched off once: the runner must turn red, or it proves
nothing when it is green."""

import pytest

from scenarios import (SESSIONS, killed_at_random, old_backup_restored,
                       power_cut_after, replies_lost)
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


def test_without_flushes_a_power_failure_loses_steps(
        careless_disk, reference, report):
    trainer, outcome = power_cut_after(careless_disk, reference, 20)
    report(outcome)
    assert trainer.error is None
    assert outcome.acknowledged == 20
    assert outcome.lost > 0
    assert outcome.differing == ["a"]


def test_commits_after_replies_lose_steps(server, reference, report):
    server.start()
    for name in SESSIONS:  # or a kill would lose a session, not a step
        Trainer(server.address, name).create()
    server.stop()
    _, outcome = killed_at_random(server, reference, KILLS,
                                  faults="ack_before_commit")
    report(outcome)
    assert outcome.lost > 0
    assert outcome.differing


def test_without_step_numbers_lost_replies_double_steps(
        server, reference, tmp_path, report):
    _, outcome, dropped = replies_lost(
        server, reference, tmp_path, 20, numbers_steps=False)
    report(f"dropped {dropped}, {outcome}")
    assert dropped == 20
    assert outcome.doubled > 0
    assert outcome.differing


def test_with_a_new_number_for_each_retry_lost_replies_double_steps(
        server, reference, tmp_path, report):
    _, outcome, dropped = replies_lost(
        server, reference, tmp_path, 20, renumbers_retries=True)
    report(f"dropped {dropped}, {outcome}")
    assert dropped == 20
    assert outcome.doubled > 0
    assert outcome.differing


def test_without_acknowledged_steps_an_old_backup_goes_unnoticed(
        server, reference, report):
    # Without step numbers, too: else the gap is noticed.
    trainer, outcome = old_backup_restored(
        server, reference, says_what_it_saw=False, numbers_steps=False)
    report(outcome)
    assert trainer.error is None
    assert outcome.lost == 10
    assert outcome.differing == ["a"]


def test_without_acknowledged_steps_an_old_backup_is_inferred_with(
        server, reference):
    # Numbered steps do not help here: inference has none.
    trainer, _ = old_backup_restored(server, reference, says_what_it_saw=False)
    trainer.dial()
    assert trainer.acknowledged == 20
    assert trainer.infer() == 10


def test_without_retries_a_kill_is_a_failure(server, reference):
    trainers, _ = killed_at_random(server, reference, 1, retries=False)
    assert any(trainer.error is not None for trainer in trainers)
