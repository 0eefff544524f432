"""Runs with faults: each returns its trainers and what is to be said of them.
The tests assert that nothing went wrong, or, with a protection taken away, that
something did."""

import random
import shutil
import time

from proxy import LossyProxy
from training import Trainer, in_threads, judge

SESSIONS = ("a", "b", "net/c", "net/d")


def end(trainers, threads):
    for trainer in trainers:
        trainer.ended.set()
    for thread in threads:
        thread.join()


def killed_at_random(server, reference, kills, before_start=None, faults="",
                     **switches):
    """Kills the server again and again while clients train."""
    noise = random.Random(kills)
    trainers = [Trainer(server.address, name, **switches) for name in SESSIONS]
    server.start(faults)
    threads = in_threads(trainers)
    for _ in range(kills):
        time.sleep(noise.uniform(0.005, 0.06))
        server.kill() if before_start is None else before_start()
        server.start(faults)
    end(trainers, threads)
    return trainers, judge(trainers, reference, server.kills)


def power_cut_at_random(server, reference, cuts, **switches):
    """The same, and each time all that no flush has made durable is gone."""
    return killed_at_random(server, reference, cuts,
                            before_start=server.cut_power, **switches)


def killed_at(server, reference, failpoint, number):
    """One planned death, then a server without faults."""
    trainers = [Trainer(server.address, name, goal=12) for name in SESSIONS[:2]]
    server.spawn(f"kill@{failpoint}:{number}")
    threads = in_threads(trainers)
    server.await_death()
    server.start()
    for thread in threads:
        thread.join()
    return trainers, judge(trainers, reference, server.kills)


def commit_failed(server, reference, number, **switches):
    """One transaction that writes nothing; its steps were applied in memory."""
    server.start(f"fail_commit:{number}")
    trainers = [Trainer(server.address, name, goal=12, **switches)
                for name in SESSIONS[:2]]
    for thread in in_threads(trainers):
        thread.join()
    return trainers, judge(trainers, reference)


def acknowledged_by(trainers):
    return [trainer.acknowledged for trainer in trainers]


def await_progress(server, trainers, seconds=30):
    """Until each has had one more step acknowledged. A server that has ended, or
    still does, because of its disk is started again."""
    before = acknowledged_by(trainers)
    deadline = time.monotonic() + seconds
    while any(now <= was
              for now, was in zip(acknowledged_by(trainers), before)):
        assert time.monotonic() < deadline, (before, acknowledged_by(trainers))
        if server.process.poll() is not None:
            server.start()
        time.sleep(0.01)


def disk_filled(server, reference, disk, kills):
    """No room while clients train, then room again. Also returns how many
    steps were acknowledged while there was none."""
    server.start()
    trainers = [Trainer(server.address, name) for name in SESSIONS]
    threads = in_threads(trainers)
    # Not for long: a log that has been copied once has room for as much again.
    await_progress(server, trainers)
    disk.fill(server)
    time.sleep(0.2)  # what was under way ends
    before = sum(acknowledged_by(trainers))
    time.sleep(0.5)
    while_full = sum(acknowledged_by(trainers)) - before
    if kills and server.process.poll() is None:
        server.kill()
    disk.free(server)
    await_progress(server, trainers)
    end(trainers, threads)
    return trainers, judge(trainers, reference, server.kills), while_full


def power_cut_after(server, reference, steps):
    """One power failure when all is acknowledged and nothing under way."""
    server.start()
    trainer = Trainer(server.address, "a", goal=steps)
    trainer.run()
    server.cut_power()
    server.start()
    return trainer, judge([trainer], reference, server.kills)


def replies_lost(server, reference, folder, drops, **switches):
    """A network that loses replies, each at the worst moment: after the step
    was taken."""
    server.start()
    with LossyProxy(folder, server.socket, 0.1, drops) as proxy:
        trainers = [Trainer(proxy.address, name, **switches)
                    for name in SESSIONS]
        threads = in_threads(trainers)
        deadline = time.monotonic() + 120
        while proxy.left > 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        end(trainers, threads)
        for trainer in trainers:  # judged by what the server itself says
            trainer.channel.close()
            trainer.__dict__.update(
                Trainer(server.address, trainer.session).__dict__
                | {"acknowledged": trainer.acknowledged,
                   "replayed": trainer.replayed, "error": trainer.error})
        return trainers, judge(trainers, reference), proxy.dropped


def old_backup_restored(server, reference, **switches):
    """Stops at step 10, copies the files, trains on to 20, puts them back."""
    trainer = Trainer(server.address, "a", goal=10, **switches)
    server.start()
    trainer.run()
    server.stop()
    backup = server.folder / "backup"
    shutil.copytree(server.data, backup)
    server.start()
    trainer.goal = 20
    trainer.run()
    server.kill()
    shutil.rmtree(server.data)
    shutil.copytree(backup, server.data)
    server.start()
    trainer.goal = 30
    trainer.run()
    return trainer, judge([trainer], reference, server.kills)
