"""The README's programs run as they stand there."""

import pathlib
import re
import subprocess
import sys
import threading

import csync

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_first_program_runs_and_prints_what_it_says(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", BLOCKS[0]], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    for promised in re.findall(r"# (.*)", BLOCKS[0])[0].split(", "):
        assert promised in done.stdout
    assert len(BLOCKS[0].splitlines()) <= 15


def test_the_transport_program_runs(tmp_path):
    """Its `post` is the reader's; here it is the other replica."""
    with csync.open(":memory:") as db, csync.open(":memory:") as peer:
        for replica in (db, peer):
            replica.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
            replica.track("t")
        db.execute("INSERT INTO t VALUES (1, 'ours')")
        peer.execute("INSERT INTO t VALUES (2, 'theirs')")

        def post(path, body):
            if path == "/pull":
                return peer.changes(csync.Position.from_json(body["position"]), body["limit"]).to_json()
            return peer.apply(csync.Batch.from_json(body)).outcomes.to_json()

        exec(BLOCKS[2], {"csync": csync, "db": db, "post": post})
        assert db.hash() == peer.hash()


def test_the_subscriber_prints_what_another_program_writes(tmp_path, capsys):
    with csync.open(tmp_path / "note.db") as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body)")
        db.track("note")
        program = f"import sqlite3; sqlite3.connect({str(tmp_path / 'note.db')!r}).executescript('INSERT INTO note VALUES (1, 2)')"
        writer = threading.Timer(0.2, subprocess.run, ([sys.executable, "-c", program],), {"timeout": 60})
        writer.start()
        exec(BLOCKS[3], {"csync": csync, "db": db})
        writer.join()
    assert capsys.readouterr().out == "insert {'id': 1} {'id': 1, 'body': 2}\n"


def test_every_name_that_the_readme_uses_is_there():
    for name in set(re.findall(r"csync\.([A-Za-z]\w+)", "".join(BLOCKS))):
        assert hasattr(csync, name), name
