"""A real database, 11 tables with foreign keys and a self reference: loaded, edited on both sides, passed on."""

import contextlib
import random
import shutil
import sqlite3

import pytest

import csync
from exact import contents, quoted

TABLES = (
    "Album", "Artist", "Customer", "Employee", "Genre", "Invoice", "InvoiceLine", "MediaType", "Playlist",
    "PlaylistTrack", "Track",
)  # fmt: skip
EDITS = 5000


@pytest.fixture
def copies(chinook_files, tmp_path):
    """copies("full", "empty", ...): open replicas of those files that track all tables."""
    with contextlib.ExitStack() as stack:

        def make(*kinds):
            made = []
            for number, kind in enumerate(kinds):
                path = tmp_path / f"{kind}{number}.db"
                shutil.copy(chinook_files[kind == "empty"], path)
                db = stack.enter_context(csync.open(path))
                db.path = path
                db.track(*TABLES)
                made.append(db)
            return made

        yield make


def assert_equal_and_sound(*databases):
    assert len({db.hash() for db in databases}) == 1
    seen = [contents(db.path) for db in databases]
    for other in seen[1:]:
        assert other == seen[0]
    for db in databases:
        with contextlib.closing(sqlite3.connect(db.path)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


class Editor:
    """A program that edits Chinook at random and knows nothing of csync; its database checks foreign keys."""

    def __init__(self, path, seed):
        self.random = random.Random(seed)
        self.connection = sqlite3.connect(path)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.columns, self.key, self.parents, self.rows = {}, {}, {}, {}
        for table in TABLES:
            described = self.connection.execute(f"PRAGMA table_info({table})").fetchall()
            self.columns[table] = [(name, kind) for _, name, kind, *_ in described]
            self.key[table] = [name for _, name, _, _, _, part in described if part]
            links = self.connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            self.parents[table] = {column: parent for _, _, parent, column, *_ in links}
            keys = self.connection.execute(f"SELECT {', '.join(self.key[table])} FROM {table}")
            self.rows[table] = keys.fetchall()

    def value(self, table, column, kind):
        if column in self.parents[table] and self.rows[self.parents[table][column]]:
            return self.random.choice(self.rows[self.parents[table][column]])[0]
        if "INTEGER" in kind:
            return self.random.randrange(10_000, 30_000)
        if "NUMERIC" in kind:
            return self.random.choice((self.random.randrange(100), self.random.random() * 100))
        return "".join(self.random.choices("abc äß𝄞'\"\\\n", k=self.random.randrange(1, 20)))

    def insert(self, table):
        row = {name: self.value(table, name, kind) for name, kind in self.columns[table]}
        sql = f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"
        self.connection.execute(sql, list(row.values()))
        self.rows[table].append(tuple(row[name] for name in self.key[table]))

    def chosen(self, table):
        """A row's place in self.rows, its key, and the condition that finds it."""
        place = self.random.randrange(len(self.rows[table]))
        return place, self.rows[table][place], " AND ".join(f"{name} = ?" for name in self.key[table])

    def update(self, table):
        place, key, condition = self.chosen(table)
        column, kind = self.random.choice(self.columns[table])
        value = self.value(table, column, kind)
        sql = f"UPDATE {table} SET {quoted(column)} = ? WHERE {condition}"
        self.connection.execute(sql, (value, *key))
        self.rows[table][place] = tuple(value if name == column else k for name, k in zip(self.key[table], key))

    def delete(self, table):
        place, key, condition = self.chosen(table)
        self.connection.execute(f"DELETE FROM {table} WHERE {condition}", key)
        self.rows[table].pop(place)

    def edit(self, count):
        """`count` edits that the database accepted."""
        done = 0
        with contextlib.closing(self.connection), self.connection:
            while done < count:
                operation = self.random.choice((self.insert, self.update, self.delete))
                table = self.random.choice(TABLES)
                if not self.rows[table] and operation != self.insert:
                    continue
                with contextlib.suppress(sqlite3.IntegrityError):
                    operation(table)
                    done += 1


def test_one_sync_fills_an_empty_database(copies):
    full, empty = copies("full", "empty")
    result = full.sync(empty)
    assert result.pushed == sum(map(len, contents(full.path).values())) > 15_000
    assert (result.pulled, result.conflicts, result.parked, result.rejected) == (0, 0, 0, 0)
    assert_equal_and_sound(full, empty)
    assert full.sync(empty).pushed == empty.sync(full).pulled == 0


@pytest.mark.parametrize("batch_size", [97, 10_000])
def test_rows_come_in_any_batches_parents_first_or_not(copies, batch_size):
    full, empty = copies("full", "empty")
    result = empty.pull(full, batch_size=batch_size)
    assert result.batches >= result.pulled // batch_size
    assert (result.pulled, result.parked) == (sum(map(len, contents(full.path).values())), 0)
    assert_equal_and_sound(full, empty)


def test_two_copies_that_existed_before_csync_agree_at_once(copies):
    """Every row is on both sides already: nothing is overwritten, nothing is a conflict."""
    one, other = copies("full", "full")
    before = contents(one.path)
    assert one.sync(other).conflicts == 0
    assert_equal_and_sound(one, other)
    assert contents(one.path) == before


@pytest.mark.parametrize("seed", [1, 2])
def test_random_edits_on_both_sides_meet_and_reach_a_third(copies, seed):
    first, second, third = copies("full", "empty", "empty")
    first.sync(second)
    Editor(first.path, seed).edit(EDITS // 2)
    Editor(second.path, seed + 1000).edit(EDITS // 2)
    result = first.sync(second)
    assert result.pulled > 1000 and result.pushed > 1000 and result.conflicts > 0 and result.rejected == 0
    assert_equal_and_sound(first, second)
    third.sync(second, batch_size=10_000)
    assert_equal_and_sound(first, second, third)
    Editor(third.path, seed + 100).edit(500)
    third.sync(second)
    first.sync(second)
    assert_equal_and_sound(first, second, third)
    again = [first.sync(second), third.sync(second), second.sync(first)]
    assert [(r.pulled, r.pushed, r.lost) for r in again] == [(0, 0, 0)] * 3
    parked = [{(p.table, repr(p.pk), repr(p.payload)) for p in db.parked()} for db in (first, second, third)]
    assert parked[0] == parked[1] == parked[2]
