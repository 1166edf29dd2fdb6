"""kill -9 at each write, sync, truncation, lock, unlink and rename: nothing is half done afterwards, and
syncing goes on from there. Each point starts from the same files.

A kill leaves what the system was told to write, so a file system in memory shows all that a disk would."""

import collections
import contextlib
import json
import os
import pathlib
import sqlite3
import tempfile

import pytest

import csync
import kill_points

SCHEMA = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT UNIQUE);
CREATE TABLE item (id INTEGER PRIMARY KEY, person INTEGER REFERENCES person, v);
CREATE TABLE tag (a TEXT, b INTEGER, note, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE late (id INTEGER PRIMARY KEY, v);
"""
TABLES = ("item", "person", "tag")
BASE = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
    INSERT INTO person SELECT i, 'base ' || i, i || '@base' FROM n;
INSERT INTO item SELECT id * 10, id, 'base' FROM person;
INSERT INTO tag SELECT 'base', id, NULL FROM person;
"""
# What the two sides did since they were in step: new rows, edits of the same rows, deletes, a name that both took
# (one row has to be parked), rows whose parent the other side deleted.
EDITS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 14)
    INSERT INTO person SELECT {at} + i, '{who} ' || i, {at} + i || '@{who}' FROM n;
INSERT INTO item SELECT id * 10, id, '{who}' FROM person WHERE id > {at};
INSERT INTO person VALUES ({at}, '{who}', 'both@once');
UPDATE person SET name = '{who} edit' WHERE id BETWEEN {edit} AND {edit} + 5;
UPDATE tag SET b = b + {at} WHERE b = {edit};
DELETE FROM item WHERE person = {delete};
DELETE FROM person WHERE id = {delete};
INSERT INTO item VALUES ({at} + 5000, {orphan}, 'orphan there');
"""
LATE = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO late SELECT {at} + i, i FROM n"
# A table made anew without csync, which csync finds out at its next call.
REPLACED = """
ALTER TABLE person ADD COLUMN extra;
DROP TRIGGER IF EXISTS "{trigger}";
UPDATE person SET name = 'unseen' WHERE id IN (3, 4);
UPDATE person SET extra = 'seen' WHERE id IN (5, 6);
"""

Head = collections.namedtuple("Head", "version stamp deleted parked payload")
Scenario = collections.namedtuple("Scenario", "operation other exact")
SCENARIOS = {
    "pull": Scenario("pull", "b.db", True),
    "push": Scenario("push", "b.db", True),
    "sync": Scenario("sync", "b.db", True),
    "apply": Scenario("apply", "batch.json", True),
    "fold": Scenario("hash", None, True),
    "track": Scenario("track", "late", True),
    "init": Scenario("track", "person", False),
    "repair": Scenario("hash", None, False),
    "purge": Scenario("purge", None, True),
    "resync": Scenario("sync", "b.db", True),
}


def script(path, text):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(text)


def rows_of(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def create(path, journal, origin, *tables):
    script(path, f"PRAGMA journal_mode = {journal};" + SCHEMA)
    if origin:
        with csync.open(path, origin=origin) as replica:
            replica.track(*TABLES, *tables)


def heads_of(path):
    """{(table, key): Head} of a replica that has read its log."""
    heads = {}
    for table in rows_of(path, "SELECT id, name FROM _sync_tables"):
        sql = f"""SELECT h.*, o.origin AS author, l.payload AS content FROM _sync_rows_{table["id"]} h
            JOIN _sync_origins o ON o.id = h.origin LEFT JOIN _sync_log l ON l.version = h.version"""
        for h in rows_of(path, sql):
            pk = tuple(h[f"k{i}"] for i in (1, 2) if f"k{i}" in h)
            stamp = h["ts"], h["author"], h["seq"]
            heads[table["name"], pk] = Head(h["version"], stamp, bool(h["state"] & 1), h["parked"], h["content"])
    return heads


def take(expected, heads):
    for key, head in heads.items():
        if key not in expected or head.stamp > expected[key].stamp:
            expected[key] = head


def assert_heads(path, expected, loose=()):
    """`loose`: rows that a forgotten delete concerns: they are what they were, or deleted afresh."""
    heads = heads_of(path)
    wrong = {k for k in heads.keys() | expected.keys() if stamp_of(heads, k) != stamp_of(expected, k)}
    for key in wrong:
        if key[0] == "late":  # being tracked: check_rows says whether it is whole
            continue
        assert key in loose and (key not in heads or heads[key].deleted), (
            f"{path}: {key} is {heads.get(key)}, not {expected.get(key)}"
        )


def stamp_of(heads, key):
    return heads[key].stamp if key in heads else None


class World:
    """Prepared files, what is in them, and what they have to come to.

    They are always written in place: a copy would be a replica of its own.
    """

    def __init__(self, folder, journal, name):
        self.name, self.scenario, self.folder = name, SCENARIOS[name], folder
        self.prepare(journal)
        self.files = {path: path.read_bytes() for path in folder.iterdir()}
        read_logs(folder)
        self.a, self.b, self.c = (heads_of(folder / f"{name}.db") if name != "a" or self.name != "init" else {} for name in "abc")
        self.pushed = position(folder / "a.db", "b", "pushed")
        self.restore()
        self.counts = kill_points.count_calls(self.arguments(), folder / "calls.txt")
        self.end = self.converge()

    def prepare(self, journal):
        a, b, c = (self.folder / f"{name}.db" for name in "abc")
        create(a, journal, None if self.name == "init" else "a")
        create(b, journal, "b", *(["late"] if self.name == "track" else []))
        create(c, journal, "c")
        script(b, BASE)
        script(b, LATE.format(at=100))
        script(a, LATE.format(at=200))
        if self.name == "init":
            script(a, EDITS.format(who="a", at=100, edit=1, delete=1, orphan="NULL"))
            return
        sync(a, b)
        script(a, EDITS.format(who="a", at=100, edit=1, delete=15, orphan=16))
        script(b, EDITS.format(who="b", at=200, edit=4, delete=16, orphan=15))
        getattr(self, f"prepare_{self.name}", lambda *paths: None)(a, b, c)

    def prepare_apply(self, a, b, c):
        script(c, EDITS.format(who="c", at=300, edit=1, delete=1, orphan="NULL"))
        with csync.open(c) as third:
            (self.folder / "batch.json").write_text(third.changes(0, 10000).to_json())

    def prepare_repair(self, a, b, c):
        names = rows_of(a, "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'person'")
        script(a, REPLACED.format(trigger=next(n["name"] for n in names if "update" in n["name"])))
        script(b, "ALTER TABLE person ADD COLUMN extra")

    def prepare_purge(self, a, b, c):
        """Each knows that the other has everything, but for the latest edit."""
        for _ in range(2):
            sync(a, b)
            sync(b, a)
        script(a, "DELETE FROM item WHERE person = 3; UPDATE tag SET note = 'latest'")

    def prepare_resync(self, a, b, c):
        """What b deleted is forgotten there, though a has not heard of it and edited some of it."""
        script(b, "DELETE FROM item WHERE person BETWEEN 10 AND 13; DELETE FROM tag WHERE b BETWEEN 10 AND 13")
        script(a, "UPDATE item SET v = 'still here' WHERE person IN (10, 16)")
        sync(c, b)
        sync(c, b)
        script(b, "DELETE FROM _sync_clients WHERE origin_id = 'a'")
        kill_points.run("purge", b)
        assert floor_of(b) > position(a, "b", "pulled")

    def restore(self):
        for path in self.folder.iterdir():
            if path not in self.files:
                path.unlink()
        for path, content in self.files.items():
            path.write_bytes(content)

    def arguments(self):
        other = self.scenario.other
        path = [] if not other else [str(self.folder / other)] if "." in other else [other]
        return [self.scenario.operation, str(self.folder / "a.db"), *path]

    def try_point(self, call, n):
        self.restore()
        killed = kill_points.kill_at(call, n, self.arguments())
        for name in ("a.db", "b.db"):
            check_file(self.folder / name)
        self.check_positions()
        assert self.converge() == self.end
        return killed

    def check_positions(self):
        """No row without its position, no position without its rows."""
        a, b = self.folder / "a.db", self.folder / "b.db"
        if not is_replica(a):
            return
        read_logs(self.folder)
        check_rows(a)
        check_rows(b)
        if not self.scenario.exact:
            return
        pushed, accepted = position(a, "b", "pushed"), position(b, "a", "pulled")
        assert pushed <= accepted
        loose = self.a.keys() - self.b.keys() if self.name == "resync" else ()
        assert_heads(a, self.expected_here(a, pushed), loose)
        expected = dict(self.b)
        take(expected, {k: h for k, h in self.a.items() if h.version <= accepted})
        assert_heads(b, expected, loose)

    def expected_here(self, a, pushed):
        floor, pulled, read = floor_of(a), position(a, "b", "pulled"), place_in_snapshot(a)
        assert not rows_of(a, f"SELECT 1 FROM _sync_log WHERE version <= {floor}")
        expected = dict(self.a)
        # a push that lost is answered with the row that beat it
        offered = f"SELECT table_name, pk_value FROM _sync_log WHERE version > {self.pushed} AND version <= {pushed}"
        answered = {(row["table_name"], tuple(json.loads(row["pk_value"]).values())) for row in rows_of(a, offered)}
        take(expected, {k: h for k, h in self.b.items() if h.version <= pulled or k in answered or in_order(k) <= read})
        take(expected, {k: h for k, h in self.c.items() if 0 < h.version <= position(a, "c", "pulled")})
        purged = {k for k, h in self.a.items() if h.deleted and h.version <= floor}
        return {k: h for k, h in expected.items() if k not in purged}

    def converge(self):
        """Writes on both sides by programs that know nothing of csync, then syncs: what it came to."""
        a, b = self.folder / "a.db", self.folder / "b.db"
        with csync.open(a) as left, csync.open(b) as right:
            if self.name == "init":
                left.track(*TABLES)
            if self.name == "track":
                left.track("late")
            if self.name == "apply":
                left.apply(csync.Batch.from_json((self.folder / "batch.json").read_text()))
            for path, n in ((a, 9001), (b, 9002)):
                top = rows_of(path, "SELECT max(version) AS top FROM _sync_log")[0]["top"] or 0
                script(path, f"INSERT INTO person (id, name) VALUES ({n}, 'afterwards')")
                seen = rows_of(path, f"SELECT pk_value FROM _sync_log WHERE version > {top}")
                assert len(seen) == 1, "a write was not captured"
            left.sync(right, batch_size=8)
            left.sync(right)
            check_rows(a)
            check_rows(b)
            assert left.hash() == right.hash()
            return left.hash(), right.hash(), left.state.parked, right.state.parked


def read_logs(folder):
    """Local writes become heads."""
    for path in folder.glob("*.db"):
        if is_replica(path):
            with csync.open(path) as replica:
                replica.hash()


def sync(path, peer):
    with csync.open(path) as left, csync.open(peer) as right:
        left.sync(right)


def is_replica(path):
    return bool(rows_of(path, "SELECT 1 FROM sqlite_master WHERE name = '_sync_peers'"))


def position(path, peer, column):
    if not is_replica(path):
        return 0
    found = rows_of(path, f"SELECT {column} AS version FROM _sync_peers WHERE peer = '{peer}'")
    return found[0]["version"] if found else 0


def check_file(path):
    """What any program sees that opens the file."""
    assert rows_of(path, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert rows_of(path, "PRAGMA foreign_key_check") == []
    if not is_replica(path):
        assert rows_of(path, "SELECT name FROM sqlite_master WHERE name LIKE '\\_sync%' ESCAPE '\\'") == []
        return
    assert rows_of(path, "SELECT sync_active FROM _sync_session") == [{"sync_active": 0}]
    tracked = {row["name"] for row in rows_of(path, "SELECT name FROM _sync_tables")}
    triggered = {row["tbl_name"] for row in rows_of(path, "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'")}
    assert tracked == triggered


def check_rows(path):
    """Every row is what its head says, and every head has its row, or waits, or is a delete."""
    heads = heads_of(path)
    for table in rows_of(path, "SELECT name FROM _sync_tables"):
        name = table["name"]
        columns = ("a", "b") if name == "tag" else ("id",)
        rows = {tuple(row[c] for c in columns): row for row in rows_of(path, f'SELECT * FROM "{name}"')}
        for (of, pk), head in heads.items():
            if of != name:
                continue
            row = rows.pop(pk, None)
            if head.deleted or head.parked:
                assert row is None, f"{path}: {name} {pk} shows a row that {head} took away"
            else:
                assert row is not None, f"{path}: {name} {pk} lacks {head}"
                payload = json.loads(head.payload) if head.payload else {}
                assert row | payload == row, f"{path}: {name} {pk} is {row}, not {head}"
        assert not rows, f"{path}: rows of {name} without a head: {list(rows)}"


def floor_of(path):
    found = rows_of(path, "SELECT value FROM _sync_state WHERE key = 'log_floor'")
    return int(found[0]["value"]) if found else 0


def in_order(key):
    """Keys as a snapshot has them: parents first."""
    table, pk = key
    return ("person", "tag", "item", "late").index(table), pk


def place_in_snapshot(path):
    """The last row of the snapshot that is being read; before all rows when there is none."""
    found = rows_of(path, "SELECT cursor FROM _sync_snapshots")
    if not found:
        return (-1,)
    length, text = found[0]["cursor"].split(":", 3)[2:]
    pk = json.loads(text[int(length):])
    return in_order((text[: int(length)], tuple(pk.values())))


@pytest.fixture
def folder():
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield pathlib.Path(path)


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_half_done_after_a_kill(name, journal, folder, figure):
    if kill_points.why_not():
        pytest.skip(f"NOT TESTED: kill -9 in the middle: {kill_points.why_not()}")
    world = World(folder, journal, name)
    points = kill_points.choose(world.counts)
    killed, failures = 0, []
    for call, n in points:
        try:
            killed += world.try_point(call, n)
        except Exception as error:
            failures.append(f"{call} {n}: {error!r}")
    figure(
        f"kill -9, {name}, {journal}: {len(points)} of {sum(world.counts.values())} points tried, "
        f"{killed} killed, {len(failures)} inconsistent"
    )
    assert not failures, "\n".join(failures)
    assert killed >= 0.9 * len(points)
