"""`bn` as a program: each test runs the binary and looks at what comes out."""

import json
import subprocess

import numpy as np
import pytest
SECONDS = 60


class Outcome:
    """What a run of bn left behind. `out` and `data` are standard output."""

    def __init__(self, process):
        self.code = process.returncode
        self.data = process.stdout
        self.err = process.stderr.decode()

    @property
    def out(self):
        return self.data.decode()

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def complaint(self):
        """The lines of an error by their first word: error, why, hint."""
        lines = (line.split(":", 1) for line in self.err.splitlines())
        return {head: rest.strip() for head, rest in lines}


class Bn:
    """Runs bn in an empty folder of its own, against the server."""

    def __init__(self, binary, folder, address, environment):
        self.binary = binary
        self.folder = folder
        self.address = address
        self.clean_environment = environment

    def command(self, *words):
        return [str(self.binary), *(str(word) for word in words)]

    def environment(self, **extra):
        """No BN_* variables but the server's address and those named here."""
        return self.clean_environment(**{"BN_SERVER": self.address, **extra})

    def __call__(self, *words, stdin=b"", **environment):
        return Outcome(
            subprocess.run(
                self.command(*words),
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder,
                env=self.environment(**environment),
                timeout=SECONDS,
            )
        )

    def ok(self, *words, **options):
        """A run that must end well; the error is shown where it does not."""
        outcome = self(*words, **options)
        assert outcome.code == 0, outcome.err + outcome.out
        return outcome

    def path(self, name):
        return self.folder / name

    def save(self, name, array):
        np.save(self.path(name), array)
        return name

    def savez(self, name, **arrays):
        np.savez(self.path(name), **arrays)
        return name

    def load(self, name):
        return np.load(self.path(name))


@pytest.fixture
def bn(bin_dir, tmp_path, server, environment):
    return Bn(bin_dir / "bn", tmp_path, server.address, environment)


@pytest.fixture
def bn_alone(bin_dir, tmp_path, environment):
    """bn without a server: for what must not need one. Port 1 refuses."""
    return Bn(bin_dir / "bn", tmp_path, "localhost:1", environment)
