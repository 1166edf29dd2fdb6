"""What the conformance tests share: replicas of every kind of database, and where these differ, as data."""

import contextlib

import csync
from note_table import wait_a_moment

PAIRS = ["sqlite-sqlite", "sqlite-pg", "pg-sqlite", "pg-pg"]
LATE = "DEFERRABLE INITIALLY DEFERRED"

# A schema is one text for all, or by kind of database where the catalogue cannot be written alike.
NOTES = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, votes INTEGER)"
FAMILY = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (id INTEGER PRIMARY KEY,"
    " parent INTEGER {}REFERENCES parent (id) {}, body TEXT)"
)
NODE = "CREATE TABLE node (id INTEGER PRIMARY KEY, v INTEGER, up INTEGER {}REFERENCES node (id) {})"
MAIL = "CREATE TABLE mail (id INTEGER PRIMARY KEY, address TEXT{}); {}"
CIRCLE = {
    "sqlite": f"CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b (id) {LATE});"
    f"CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id) {LATE})",
    "pg": "CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER);"
    f"CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id) {LATE});"
    f"ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (id) {LATE}",
}

# What is written or asked in another way: by kind of database.
SPELLED = {
    "clock in 2099": {
        "sqlite": "UPDATE _sync_session SET clock = '2099-01-01T00:00:00.000Z'",
        "pg": "UPDATE csync._sync_session SET clock = 4070908800000",
    },
    "clock two hours ahead": {
        "sqlite": "UPDATE _sync_session SET clock = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+2 hours')",
        "pg": "UPDATE csync._sync_session SET clock = (extract(epoch FROM clock_timestamp() + interval '2 hours') * 1000)::bigint",
    },
    "log": {"sqlite": "_sync_log", "pg": "csync._sync_log"},
    "clients heard of 91 days ago": {
        "sqlite": "UPDATE _sync_clients SET last_sync_timestamp = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-91 days')"
        " WHERE origin_id = '{}'",
        "pg": "UPDATE csync._sync_clients SET last_sync_timestamp = to_char(now() AT TIME ZONE 'UTC' - interval '91 days',"
        " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') WHERE origin_id = '{}'",
    },
    "rows without their parents": {
        "sqlite": "PRAGMA foreign_keys = OFF; {}; PRAGMA foreign_keys = ON",
        "pg": "SET session_replication_role = replica; ALTER TABLE {1} ENABLE ALWAYS TRIGGER _sync_insert; {0};"
        " SET session_replication_role = DEFAULT",
    },
}

class World:
    """Makes the replicas of a test: the first, third ... of one kind, the second, fourth ... of the other."""

    def __init__(self, pair, replica, pg_replica, sql):
        self.kinds = pair.split("-")
        self._makers = {"sqlite": replica, "pg": pg_replica}
        self._sql = sql

    def replica(self, kind, schema="", *tables):
        db = self._makers[kind](schema if isinstance(schema, str) else schema[kind], *tables)
        db.kind = kind
        db.other = db.sql if kind == "pg" else lambda statement: self._sql(db.path, statement)
        return db

    def replicas(self, schema, *tables, count=2):
        return [self.replica(self.kinds[n % 2], schema, *tables) for n in range(count)]

    def notes(self, count=2):
        return self.replicas(NOTES, "note", count=count)

    def conflict(self):
        """Note 1 was edited on both sides: body "left", then body "right"."""
        left, right = self.notes()
        left.execute("INSERT INTO note VALUES (1, 'start', 10)")
        right.sync(left)
        left.execute("UPDATE note SET body = 'left', votes = votes + 5")
        wait_a_moment()
        right.execute("UPDATE note SET body = 'right', votes = votes + 7")
        return left, right

    @contextlib.contextmanager
    def reopened(self, db):
        """Another handle of the same database."""
        with csync.open(db.url if db.kind == "pg" else db.path) as again:
            again.kind, again.other = db.kind, db.other
            yield again


def spelled(db, name, *parts):
    return SPELLED[name][db.kind].format(*parts)


def run(db, script):
    """Each statement is a transaction of its own."""
    for statement in script.split(";"):
        if statement.strip():
            db.execute(statement)


def table(db, name):
    return db.execute(f"SELECT * FROM {name} ORDER BY 1, 2" if name == "pair" else f"SELECT * FROM {name} ORDER BY 1")


def parked(db):
    return sorted((p.table, p.pk["id"], p.reason) for p in db.parked())


def log(db, since=0):
    return [(c.operation, c.pk["id"]) for c in db.changes(since=since)]


def settle(*dbs):
    """Everybody syncs with the first until nothing moves; then all hold and park the same, and rest."""
    for _ in range(4):
        for db in dbs[1:]:
            db.sync(dbs[0])
    assert len({db.hash() for db in dbs}) == 1
    assert [parked(db) for db in dbs] == [parked(dbs[0])] * len(dbs)
    before = [db.state.max_version for db in dbs]
    for db in dbs[1:]:
        result = db.sync(dbs[0])
        assert (result.pulled, result.pushed) == (0, 0)
    assert [db.state.max_version for db in dbs] == before


def lose_answer(peer):
    """A remote whose answer to a push never comes."""

    def send(batch):
        peer.apply(batch)
        raise ConnectionError

    return csync.Remote(send=send, name=peer.origin)
