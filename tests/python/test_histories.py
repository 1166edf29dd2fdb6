"""Random histories: replicas that are written to and sync with interruptions end up alike.

A history is a schema, 2 to 5 replicas in memory, and steps drawn from one seed. Every step is noted, so that a
failure shows what led to it. CSYNC_TEST_PROFILE (quick, default or long) says how many there are; one alone:

    pytest tests/python/test_histories.py -k "everything-17-"
"""

import datetime
import json
import os
import random

import pytest

import csync
from note_table import Boom

# what a history draws from: ON DELETE actions, and the rest by name
FEATURES = {
    "plain": "",
    "cascade": "CASCADE rekey",
    "set-null": "SET_NULL notnull",
    "restrict": "RESTRICT CASCADE",
    "self": "self CASCADE SET_NULL onupdate",
    "cycle": "cycle self CASCADE RESTRICT",
    "deferred": "deferred cycle self",
    "keys": "keys SET_NULL CASCADE onupdate rekey",
    "not-null": "notnull CASCADE SET_NULL deferred onupdate",
    "everything": "CASCADE SET_NULL RESTRICT self cycle deferred notnull onupdate rekey keys",
}
SEEDS = {"quick": 6, "default": 30, "long": 1000}[os.environ.get("CSYNC_TEST_PROFILE", "default")]
EVER = 10**9
RESTS_WITHIN = 40


class Table:
    """A table with a key `id`, a value `v` and references f0, f1..."""

    def __init__(self, draw, has, number, count):
        self.name, self.references, clauses = f"t{number}", [], []
        older, newer = list(range(number)), list(range(number + 1, count))
        actions = ["NO ACTION"] + [a.replace("_", " ") for a in ("RESTRICT", "CASCADE", "SET_NULL") if a in has]
        for k in range(draw.choice([0, 1, 1, 2])):
            targets = older + [number] * ("self" in has) + newer * ("cycle" in has and draw.random() < 0.3)
            if targets:
                self.references.append(f"t{draw.choice(targets)}")
                clauses.append(self.reference(draw, has, k, draw.choice(actions)))
        self.columns = ["id", "v"] + [f"f{k}" for k in range(len(clauses))]
        if draw.random() < 0.25:  # the key is not the first column, and there is no rowid
            body = ["v INTEGER", "id INTEGER NOT NULL", *clauses, "PRIMARY KEY (id)) WITHOUT ROWID"]
        else:
            body = ["id INTEGER PRIMARY KEY NOT NULL", "v INTEGER", *clauses]
            body[-1] += ")"
        self.sql = f"CREATE TABLE {self.name} (" + ", ".join(body)

    def reference(self, draw, has, k, action):
        null = " NOT NULL" if "notnull" in has and draw.random() < 0.15 else ""
        update = " ON UPDATE CASCADE" if "onupdate" in has and draw.random() < 0.4 else ""
        late = " DEFERRABLE INITIALLY DEFERRED" if "deferred" in has and draw.random() < 0.25 else ""
        return f"f{k} INTEGER{null} REFERENCES {self.references[k]} (id) ON DELETE {action}{update}{late}"


class History:
    def __init__(self, features, seed):
        self.draw = draw = random.Random(f"{features} {seed}")
        self.has = FEATURES[features].split()
        self.notes, self.stamps, self.old, self.dbs = [], {}, {}, []
        count = draw.randint(2, 4)
        self.tables = [Table(draw, self.has, number, count) for number in range(count)]
        self.keys = draw.choice([3, 5, 8])
        self.arrange(draw.choice([2, 3, 3, 4, 5]))
        self.seen = [0] * len(self.dbs)

    def arrange(self, count):
        """The replicas, who syncs with whom, and whether by one session or by two pulls."""
        draw = self.draw
        shape = draw.choice(["star", "chain", "ring", "mesh"])
        self.pairs = {
            "star": [(i, 0) for i in range(1, count)],
            "chain": [(i, i + 1) for i in range(count - 1)],
            "ring": [(i, (i + 1) % count) for i in range(count)],
            "mesh": [(i, j) for i in range(count) for j in range(i + 1, count)],
        }[shape]
        if shape != "star":
            self.pairs = [pair if draw.random() < 0.5 else pair[::-1] for pair in self.pairs]
        self.pulls_only = draw.random() < 1 / 3
        filled = draw.random() < 0.4  # before tables are tracked
        for i in range(count):
            self.dbs.append(csync.open(":memory:", origin=f"o{i}"))
            for table in self.tables:
                self.dbs[i].execute(table.sql)
            for _ in range(draw.randint(1, 8) if filled and draw.random() < 0.5 else 0):
                self.write(i)
            for table in self.tables:
                capture = "keys" if "keys" in self.has and draw.random() < 0.4 else "full"
                self.dbs[i].track(table.name, capture=capture)
                self.note("track", i, table.name, capture)
        self.note(shape, "pulls" if self.pulls_only else "both ways", self.pairs)

    def note(self, *what):
        self.notes.append(" ".join(str(part) for part in what))

    # ---- Writes

    def target(self, db, table):
        """A value for a reference: mostly a row that is there."""
        chance = self.draw.random()
        found = db.execute(f"SELECT id FROM {table}")
        if chance < 0.15:
            return None
        return self.draw.choice(found)[0] if found and chance < 0.85 else self.draw.randint(1, self.keys)

    def statement(self, db):
        draw, table = self.draw, self.draw.choice(self.tables)
        key, v, chance = draw.randint(1, self.keys), draw.randint(0, 99), draw.random()
        if chance < 0.55:
            row = [key, v] + [self.target(db, other) for other in table.references]
            taken = ", ".join(f"{name} = excluded.{name}" for name in table.columns[1:])
            marks = ", ".join("?" * len(row))
            sql = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"
            return f"{sql} ON CONFLICT (id) DO UPDATE SET {taken}", row
        if chance < 0.66:
            return f"UPDATE {table.name} SET v = ? WHERE id = ?", [v, key]
        if chance < 0.74 and "rekey" in self.has:
            return f"UPDATE {table.name} SET id = ? WHERE id = ?", [draw.randint(1, self.keys), key]
        if chance < 0.80 and table.references:
            to = self.target(db, table.references[0])
            return f"UPDATE {table.name} SET f0 = ?, v = ? WHERE id = ?", [to, v, key]
        return f"DELETE FROM {table.name} WHERE id = ?", [key]

    def attempt(self, i, sql, row=()):
        """The schema may refuse it."""
        try:
            self.dbs[i].execute(sql, row)
        except csync.DatabaseError:
            return False
        self.note("write", i, sql, row)
        return True

    def write(self, i):
        """A statement, or a few in one transaction."""
        db, draw = self.dbs[i], self.draw
        if draw.random() < 0.93:
            self.attempt(i, *self.statement(db))
        else:
            self.attempt(i, "BEGIN")
            if draw.random() < 0.5:
                self.attempt(i, "PRAGMA defer_foreign_keys = ON")
            for _ in range(draw.randint(2, 4)):
                self.attempt(i, *self.statement(db))
            if not self.attempt(i, "COMMIT"):
                self.attempt(i, "ROLLBACK")
        if len(self.dbs) == len(getattr(self, "seen", ())):
            self.collect(i)

    def collect(self, i):
        """The highest stamp that any replica itself has given to each row."""
        log = self.dbs[i].execute(
            "SELECT version, table_name, pk_value, operation, timestamp, coalesce(seq, version), payload"
            " FROM _sync_log WHERE version > ? AND (origin IS NULL OR origin = ?) ORDER BY version",
            [self.seen[i], f"o{i}"],
        )
        for version, table, pk, operation, timestamp, seq, payload in log:
            made = datetime.datetime.fromisoformat(timestamp) - datetime.datetime.fromtimestamp(0, datetime.UTC)
            stamp = (made // datetime.timedelta(milliseconds=1), f"o{i}", seq)
            row, now = (table, json.loads(pk)["id"]), (stamp, operation == "delete", payload)
            if row not in self.stamps or self.stamps[row][0] < stamp:
                self.stamps[row] = now
            self.seen[i] = version

    # ---- Sessions

    def one_in(self, count):
        return self.faulty and self.draw.random() < 1 / count

    def meanwhile(self, *who):
        for i in who:
            if self.one_in(10):
                self.write(i)

    def sync(self, i, j, direction, faulty=True):
        """A session of i with j. With faults, any step may be the last one, and any call may be rolled back."""
        self.faulty = faulty
        size, passes = self.draw.choice([1, 2, 3, 7, 50]), self.draw.choice([0, 3, 3])
        calls = self.draw.choice([EVER, EVER, 0, 1, 2, 5]) if faulty else EVER

        def count_down(progress):
            nonlocal calls
            calls -= 1
            if calls < 0:
                raise Boom

        self.progress = count_down
        self.note("session", i, j, direction, "batch", size, "passes", passes, "fails after", calls)
        options = {"direction": direction, "batch_size": size, "max_retry_passes": passes}
        session = csync.Session(self.dbs[i], f"o{j}", progress=count_down, **options)
        try:
            for _ in range(5000):
                step = session.next()
                if step.kind == "done":
                    return
                if self.one_in(16):
                    return self.note("cut before a", step.kind)
                handled = self.fetch if step.kind == "fetch" else self.send
                if not handled(session, step, i, j):
                    return
        except Boom:
            return self.note("rolled back")
        raise AssertionError("the session does not end")

    def keep(self, way, batch):
        """Remembers the batch, and now and then gives an older one in its place."""
        kept = self.old.setdefault(way, [])
        if self.one_in(12):
            kept.append(batch)
        if kept and self.one_in(16):
            self.note("an old batch", way)
            return self.draw.choice(kept)
        return batch

    def fetch(self, session, step, i, j):
        page = self.dbs[j].changes(step.since, step.limit)
        if self.one_in(24):
            return self.note("page lost")
        session.page(self.keep(("pull", i, j), page))
        self.meanwhile(j, i)
        if self.one_in(24):
            return self.note("cut after a page")
        return True

    def send(self, session, step, i, j):
        other = self.keep(("push", i, j), step.batch)
        if other is not step.batch:
            self.dbs[j].apply(other)
        answer = self.dbs[j].apply(step.batch, progress=self.progress)
        if self.one_in(24):
            return self.note("answer lost")
        if self.one_in(16):
            self.note("repeated")
            self.dbs[j].apply(step.batch)
        self.meanwhile(i, j)
        session.outcome(answer)
        return True

    # ---- The whole, and what must hold at its end

    def run(self):
        for _ in range(self.draw.randint(5, 60)):
            if self.draw.random() < 0.65:
                self.write(self.draw.randrange(len(self.dbs)))
                continue
            i, j = self.draw.choice(self.pairs)
            if self.pulls_only:
                self.sync(*self.draw.choice([(i, j), (j, i)]), "pull")
            else:
                self.sync(i, j, self.draw.choice(["both", "both", "pull", "push"]))
        self.note("no more faults")
        self.rest()
        for i, db in enumerate(self.dbs):
            db.hash()
            self.collect(i)
        self.check_equal()
        for i in range(len(self.dbs)):
            self.check_sound(i)
            self.check_heads(i)

    def state(self):
        return [(db.state.max_version, self.rows(i)) for i, db in enumerate(self.dbs)]

    def rows(self, i):
        found = {}
        for table in self.tables:
            for row in self.dbs[i].execute(f"SELECT {', '.join(table.columns)} FROM {table.name}"):
                found[table.name, row[0]] = dict(zip(table.columns, row))
        return found

    def rest(self):
        quiet = 0
        for _ in range(RESTS_WITHIN):
            before = self.state()
            for i, j in self.pairs:
                if self.pulls_only:
                    self.sync(i, j, "pull", faulty=False)
                    self.sync(j, i, "pull", faulty=False)
                else:
                    self.sync(i, j, "both", faulty=False)
            quiet = quiet + 1 if self.state() == before else 0
            if quiet == 2:
                return
        raise AssertionError(f"no rest: the logs end at {[db.state.max_version for db in self.dbs]}")

    def check_equal(self):
        waiting = []
        for db in self.dbs:
            parked = [(p.table, p.pk["id"], str(p.payload), p.origin, p.timestamp) for p in db.parked()]
            waiting.append(sorted(parked))
        for i, db in enumerate(self.dbs):
            assert self.rows(i) == self.rows(0), f"rows of {i} and 0"
            assert waiting[i] == waiting[0], f"parked rows of {i} and 0"
            assert db.hash() == self.dbs[0].hash(), f"hashes of {i} and 0"

    def check_sound(self, i):
        db = self.dbs[i]
        assert db.execute("PRAGMA foreign_key_check") == []
        assert db.execute("PRAGMA integrity_check") == [("ok",)]
        assert db.execute("PRAGMA defer_foreign_keys") == [(0,)]
        assert db.execute("SELECT sync_active FROM _sync_session") == [(0,)]

    def check_heads(self, i):
        """The head of every row has the highest stamp, and the row, or its parked entry, is there."""
        db, rows, heads = self.dbs[i], self.rows(i), {}
        for number, name in db.execute("SELECT id, name FROM _sync_tables"):
            for key, time, origin, seq, deleted, parked in db.execute(
                "SELECT k1, ts, o.origin, seq, state & 1, parked"
                f" FROM _sync_rows_{number} h JOIN _sync_origins o ON o.id = h.origin"
            ):
                heads[name, key] = (time, origin, seq), deleted, parked
        assert {row for row, (_, deleted, parked) in heads.items() if not deleted and not parked} == set(rows)
        entries = {number for (number,) in db.execute("SELECT id FROM _sync_parked")}
        assert {parked for *_, parked in heads.values() if parked} == entries
        for row, (stamp, deleted, payload) in self.stamps.items():
            assert heads[row][0] == stamp, f"the head of {row} at {i}"
            assert bool(heads[row][1]) == deleted, f"the head of {row} at {i}"
            if payload and row in rows:
                assert rows[row] == json.loads(payload), f"the content of {row} at {i}"

    def told(self):
        return "\n".join([f"features: {self.has}", *(table.sql for table in self.tables), *self.notes])

    def close(self):
        for db in self.dbs:
            db.close()


CASES = [(features, seed) for features in FEATURES for seed in range(SEEDS)]


@pytest.mark.parametrize("features, seed", CASES, ids=[f"{features}-{seed}-" for features, seed in CASES])
def test_replicas_end_up_alike(features, seed):
    history = History(features, seed)
    try:
        history.run()
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error}\nset {features!r}, seed {seed}\n{history.told()}", pytrace=False)
    finally:
        history.close()
