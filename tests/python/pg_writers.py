"""Many programs that write to one PostgreSQL database at once, and a reader that checks the order of the log.

The writers are pgbench's clients, each with a connection of its own: transactions of one to three rows, savepoints
that are rolled back before and after others stay, aborts, transactions that stay open for long, and all levels of
isolation. Whoever loses against another is tried again.
"""

import collections
import os
import subprocess

import pg

SCHEMA = (
    "CREATE TABLE note(id bigserial PRIMARY KEY, text text, rank int);"
    "INSERT INTO note(text, rank) SELECT 'hot', 0 FROM generate_series(1,64)"
)

_HOT = "UPDATE note SET rank=rank+1 WHERE id=:{};"
_NEW = "INSERT INTO note(text,rank) VALUES ('{}', 0);"
_DRAW = "\\set a random(1, 20)\n\\set b random(21, 40)\n\\set c random(41, 64)\n"
_MANY = _HOT.format("a") + _HOT.format("b") + _HOT.format("c")

# (weight, script): ids rise within a transaction, so that few of them wait for each other in a circle
SCRIPTS = [
    (8, _DRAW + _HOT.format("a")),
    (4, _DRAW + _NEW.format("one")),
    (6, _DRAW + "BEGIN;" + _MANY + "COMMIT;"),
    (3, _DRAW + "BEGIN; SAVEPOINT s;" + _MANY + "ROLLBACK TO s;" + _NEW.format("after a savepoint") + "COMMIT;"),
    (3, _DRAW + "BEGIN;" + _HOT.format("a") + "SAVEPOINT s;" + _HOT.format("b") + "ROLLBACK TO s;" + _HOT.format("c")
     + "RELEASE s; COMMIT;"),
    (2, _DRAW + "BEGIN;" + _MANY + _NEW.format("aborted") + "ROLLBACK;"),
    (1, _DRAW + "BEGIN;" + _NEW.format("long") + "SELECT pg_sleep(0.2);" + _HOT.format("c") + "COMMIT;"),
    (2, _DRAW + "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT sum(rank) FROM note WHERE id<=64;" + _HOT.format("b")
     + _NEW.format("repeatable read") + "COMMIT;"),
    (2, _DRAW + "BEGIN ISOLATION LEVEL SERIALIZABLE;" + _HOT.format("c") + _NEW.format("serializable") + "COMMIT;"),
]


class Writers:
    """`clients` connections that write for so many seconds; use it in a `with`."""

    def __init__(self, url, folder, clients=16, seconds=8, scripts=SCRIPTS):
        command = [pg.programs() / "pgbench", "-n", "-c", str(clients), "-j", "2", "-T", str(seconds), "--max-tries=0"]
        for number, (weight, script) in enumerate(scripts):
            path = folder / f"writer{number}.sql"
            path.write_text(script.replace(";", ";\n"))
            command += ["-f", f"{path}@{weight}"]
        self.process = subprocess.Popen(
            [*command, url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "LC_ALL": "C"}
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def at_work(self):
        return self.process.poll() is None

    def transactions(self):
        """How many they made in a second; waits for their end."""
        output, _ = self.process.communicate()
        assert self.process.returncode == 0, output
        assert "number of failed transactions: 0" in output, output
        return float(output.split("tps = ")[1].split()[0])


class LogReader:
    """Reads every entry of the log, also those that later ones have superseded, page by page.

    `horizon` says up to where: csync's own, or one that does not wait for who is still at it.
    """

    def __init__(self, db, horizon="csync._sync_horizon()"):
        self._db, self._horizon, self._at = db, horizon, 0
        self.entries = []

    def poll(self):
        [(top,)] = self._db.execute(f"SELECT {self._horizon}")
        self.entries += self._db.execute(
            "SELECT version, pk_value, (payload::json->>'rank')::int FROM csync._sync_log"
            " WHERE version>$1::bigint AND version<=$2::bigint AND origin IS NULL ORDER BY version",
            (self._at, top),
        )
        self._at = top

    def missed(self):
        """How many entries are in the log that were not read."""
        [(count,)] = self._db.execute("SELECT count(*) FROM csync._sync_log WHERE origin IS NULL")
        return count - len({version for version, _, _ in self.entries})

    def out_of_order(self):
        """How many entries did not come after all of their row that were written before: a rank only ever rises."""
        seen, count = collections.defaultdict(lambda: -1), 0
        for _, pk, rank in self.entries:
            count += rank <= seen[pk]
            seen[pk] = max(rank, seen[pk])
        return count
