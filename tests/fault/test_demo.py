"""`bn demo` trains as if nothing had happened, while its server is killed."""

import json
import random
import subprocess
import time

KILLS = 12
EPOCHS = 10


def demo(bin_dir, address):
    return subprocess.Popen(
        [bin_dir / "bn", "demo", "--format", "json", "--no-next", "--epochs",
         str(EPOCHS), "--server", address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def report_of(training):
    out, errors = training.communicate()
    assert training.returncode == 0, errors.decode()
    return json.loads(out)


def await_a_step(training, server):
    """However long a busy machine takes: a client gives up after eight attempts,
    which are too few for a server that is killed before it has done anything."""
    begin = server.writes()
    while training.poll() is None and server.writes() == begin:
        time.sleep(0.002)


def kill_while(training, server):
    """Until the demo ends, or it has seen enough."""
    noise = random.Random(KILLS)
    while training.poll() is None and server.kills < 2 * KILLS:
        await_a_step(training, server)
        time.sleep(noise.uniform(0, 0.02))  # a fast machine trains in a second
        if training.poll() is None:
            server.kill()
            server.start()


def learned(report):
    """All that depends on every step: losses and running statistics."""
    return report["epochs"], [
        [layer["running_mean"], layer["running_var"], layer["batch_count"]]
        for layer in report["layers"]]


def test_the_demo_learns_the_same_while_its_server_is_killed(
        bin_dir, server, reference, report):
    undisturbed = report_of(demo(bin_dir, reference.address))
    server.start()
    training = demo(bin_dir, server.address)
    kill_while(training, server)
    disturbed = report_of(training)
    loss = undisturbed["epochs"][-1]["loss"]
    report(f"killed {server.kills} times while it trained; final loss "
           f"{disturbed['epochs'][-1]['loss']!r}, undisturbed {loss!r}; "
           f"running statistics "
           f"{'identical' if learned(disturbed) == learned(undisturbed) else 'DIFFER'}")
    assert server.kills >= KILLS
    assert learned(disturbed) == learned(undisturbed)
