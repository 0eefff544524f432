"""disk.c by itself, with nothing of ours: what it calls a power failure loses
what SQLite did not flush, and nothing that SQLite did."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

ROWS = 50

# Says which rows were committed, and waits to be killed.
WRITER = f"""
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=" + sys.argv[2])
db.execute("CREATE TABLE rows (number, filling)")
for number in range({ROWS}):
    db.execute("INSERT INTO rows VALUES (?, randomblob(3000))", [number])
    print(number, flush=True)
sys.stdin.read()
"""


def rows_after_a_power_failure(folder, library, synchronous):
    """What is left of ROWS committed rows, in a file that is still sound."""
    (folder / "live").mkdir()
    (folder / "durable").mkdir()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder / "live/sessions.db"), synchronous],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "LD_PRELOAD": str(library),
             "BN_DISK_DURABLE": str(folder / "durable")})
    with writer:
        committed = [int(writer.stdout.readline()) for _ in range(ROWS)]
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    assert committed == list(range(ROWS))
    return sound_rows(folder / "durable/sessions.db")


def sound_rows(path):
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not database.execute("SELECT * FROM sqlite_schema").fetchall():
            rows = []
        else:
            rows = database.execute("SELECT number FROM rows").fetchall()
    database.close()
    return [number for (number,) in rows]


def test_what_was_flushed_is_left(tmp_path, disk_library):
    rows = rows_after_a_power_failure(tmp_path, disk_library, "FULL")
    assert rows == list(range(ROWS))


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_what_was_not_flushed_is_gone(tmp_path, disk_library, synchronous):
    rows = rows_after_a_power_failure(tmp_path, disk_library, synchronous)
    assert len(rows) < ROWS
    assert rows == list(range(len(rows)))


@pytest.mark.parametrize("fault, words", [
    ("FULL", "database or disk is full"), ("BAD", "disk I/O error")])
def test_a_disk_that_fails_is_what_sqlite_says_it_is(
        tmp_path, disk_library, fault, words):
    switch = tmp_path / "switch"
    switch.touch()
    writer = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path / "sessions.db"), "FULL"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**os.environ, "LD_PRELOAD": str(disk_library),
             f"BN_DISK_{fault}": str(switch)})
    assert writer.returncode != 0
    assert words in writer.stderr
