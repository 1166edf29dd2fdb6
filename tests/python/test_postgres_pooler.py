"""PostgreSQL behind PgBouncer in transaction mode: each transaction may find itself on another server connection."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import pg
import pytest
from test_postgres import NOTES, in_step

import csync

PORT = 6432  # of a socket in a folder of its own
CONFIG = """
[databases]
* = host={home} user=postgres
[pgbouncer]
pool_mode = transaction
default_pool_size = {size}
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
server_reset_query_always = 0
"""


@contextlib.contextmanager
def pooler(home, size):
    """The directory and port of a pooler in front of the server, whose connections `size` clients share."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    with tempfile.TemporaryDirectory(prefix="csync-pooler-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o777)
        config = folder / "pgbouncer.ini"
        config.write_text(CONFIG.format(home=home, size=size, port=PORT, folder=folder))
        with (folder / "errors").open("w") as errors:
            process = subprocess.Popen([program, config], stderr=errors, **pg.user())
        try:
            for _ in range(300):
                if (folder / f".s.PGSQL.{PORT}").exists() or process.poll() is not None:
                    break
                time.sleep(0.1)
            assert process.poll() is None, (folder / "errors").read_text()
            yield f"host={folder}&port={PORT}"
        finally:
            process.terminate()
            process.wait()


@pytest.mark.parametrize("size", [1, 2])
def test_two_clients_share_the_connections_of_a_pooler(pg_replica, replica, postgres, size):
    db, one, two = pg_replica(NOTES, "note"), replica(NOTES, "note"), replica(NOTES, "note")
    (name,) = db.sql("SELECT current_database()")

    def edit_and_sync(leaf, server, first):
        for number in range(first, first + 8):
            leaf.execute("INSERT INTO note VALUES (?, 'x', 0)", (number,))
            leaf.sync(server, batch_size=3)

    with pooler(postgres, size) as where:
        url = f"postgresql://postgres@/{name}?{where}"
        with csync.open(url) as left, csync.open(url, timeout=60) as right:
            threads = [
                threading.Thread(target=edit_and_sync, args=arguments) for arguments in ((one, left, 100), (two, right, 200))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            left.execute("UPDATE note SET text='by the pooler' WHERE id=101")
            for _ in range(2):
                one.sync(right)
                two.sync(left)
            in_step(db, one, two)
            assert one.execute("SELECT count(*) FROM note") == [(16,)]
            assert one.execute("SELECT text FROM note WHERE id=101") == [("by the pooler",)]
            # nothing of csync's stays with a connection that somebody else gets
            for setting in ("csync.sync_active", "csync.lo"):
                assert left.execute("SELECT coalesce(current_setting($1,true),'')", (setting,)) == [("",)]
            assert left.execute("SELECT count(*) FROM pg_locks WHERE locktype='advisory'") == [(0,)]
            assert left.execute("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
