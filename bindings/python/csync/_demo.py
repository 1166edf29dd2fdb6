"""python -m csync demo: two replicas are written offline, brought together, and checked.

First with an inspection notebook of its own, then with a database of the caller's, which is copied and never
written. Everything happens in a temporary directory that is gone afterwards.
"""

import contextlib
import os
import pathlib
import random
import shutil
import sqlite3
import sys
import tempfile
import time

import csync


class DemoError(Exception):
    """The demo did not come out as it must; the text is for the reader."""


def run(database=None):
    """Runs the demo; returns the exit status."""
    try:
        source = _source(database)
        with tempfile.TemporaryDirectory(prefix="csync-demo-") as folder:
            print(f"csync {csync.__version__}, SQLite {sqlite3.sqlite_version}")
            _notebook(pathlib.Path(folder, "notebook"))
            if source is not None:
                _own_database(pathlib.Path(folder, "own"), source)
    except (DemoError, csync.Error, sqlite3.Error, OSError) as error:
        print(f"csync demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("csync demo: interrupted", file=sys.stderr)
        return 130
    return 0


def _source(database):
    """The caller's database: the argument, else the test data that CSYNC_TEST_DATA names, else None."""
    if database is None:
        root = os.environ.get("CSYNC_TEST_DATA")
        if not root:
            return None
        database = pathlib.Path(root, "data", "chinook.sql")
    path = pathlib.Path(database)
    if not path.is_file():
        raise DemoError(f"{path}: no such file")
    return path


# ---- The notebook: two laptops of a field team

_SCHEMA = """
CREATE TABLE site (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    latitude  REAL, longitude REAL
);
CREATE TABLE visit (
    id        INTEGER PRIMARY KEY,          -- 64 bits: beyond what a float can count
    site_id   TEXT NOT NULL REFERENCES site,
    inspector TEXT NOT NULL,
    finding   TEXT NOT NULL,
    severity  INTEGER NOT NULL CHECK (severity BETWEEN 1 AND 5)
);
CREATE TABLE photo (
    visit_id  INTEGER NOT NULL REFERENCES visit ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    taken_ns  INTEGER NOT NULL,
    image     BLOB NOT NULL,
    PRIMARY KEY (visit_id, number)
) WITHOUT ROWID;
"""
_TABLES = ("site", "visit", "photo")
_VISIT = 9007199254740993  # 2^53 + 1


def _notebook(folder):
    """The whole story on a schema of our own."""
    folder.mkdir()
    anna, ben = folder / "anna.db", folder / "ben.db"
    for path in (anna, ben):
        _write(path, *(statement for statement in _SCHEMA.split(";") if statement.strip()))
    _first_entries(anna)
    _title("Two laptops, one inspection notebook: site, visit, photo")
    with csync.open(anna) as at_anna, csync.open(ben) as at_ben:
        for db in (at_anna, at_ben):
            db.track(*_TABLES)
        first = at_ben.sync(at_anna)
        print("Ben's copy is empty and gets Anna's:")
        _table(("pulled", "rows in all"), [(first.pulled, sum(_counts(ben, _TABLES).values()))])
        _offline_edits(anna, ben)
        result = at_ben.sync(at_anna, on_conflict=_merge_visits)
        again = at_ben.sync(at_anna)
        print("\nThey meet, and Ben syncs with Anna:")
        _results([("Ben's sync with Anna", result), ("once more", again)])
        _show_conflicts(at_ben)
        _show_visits(anna)
        _check(("Anna", at_anna, anna), ("Ben", at_ben, ben))


def _first_entries(path):
    image = bytes(range(256)) * 8
    _write(
        path,
        "INSERT INTO site VALUES ('N1', 'North weir', 52.5200066, 13.4049540), ('S4', 'South lock', 48.1, 11.6)",
        (
            "INSERT INTO visit VALUES (?, 'N1', 'Anna', 'hairline crack', 2), (?, 'S4', 'Anna', 'all well', 1)",
            (_VISIT, _VISIT + 2),
        ),
        ("INSERT INTO photo VALUES (?, 1, 1719830400123456789, ?)", (_VISIT, image)),
    )


def _offline_edits(anna, ben):
    """Each laptop writes for itself, with Python's own sqlite3: csync's triggers see every program."""
    _write(
        anna,
        ("UPDATE visit SET finding = 'crack is wet', severity = 4 WHERE id = ?", (_VISIT,)),
        ("UPDATE visit SET severity = 2 WHERE id = ?", (_VISIT + 2,)),
        "INSERT INTO site VALUES ('E7', 'East sluice', 50.9, NULL)",
    )
    time.sleep(0.02)  # Ben's edits are the later ones, on any clock
    _write(
        ben,
        ("UPDATE visit SET finding = 'crack measured: 3 mm', severity = 3 WHERE id = ?", (_VISIT,)),
        ("DELETE FROM photo WHERE visit_id = ?", (_VISIT,)),
        "INSERT INTO site VALUES ('W2', 'West gate', 51.0, 7.0)",
        ("INSERT INTO visit VALUES (?, 'W2', 'Ben', 'gate sticks', 3)", (_VISIT + 1000,)),
        ("INSERT INTO photo VALUES (?, 1, 1719916800987654321, ?)", (_VISIT + 1000, b"\x00\xff\xd8\xff")),
    )
    print("\nOffline, each writes on their own:")
    _table(
        ("who", "wrote"),
        [
            ("Anna", "visit ...993: 'crack is wet', severity 4"),
            ("Anna", "visit ...995: severity 2; a new site"),
            ("Ben", "visit ...993: 'crack measured: 3 mm', severity 3"),
            ("Ben", "a new site with a visit and a photo; one photo deleted"),
        ],
    )


def _merge_visits(local, remote, base):
    """The later text, and the worse severity of the two."""
    if local.operation == "delete" or remote.operation == "delete":
        return csync.resolve(local, remote)
    later = local if csync.resolve(local, remote) == "local" else remote
    return {**later.payload, "severity": max(local.payload["severity"], remote.payload["severity"])}


def _show_conflicts(db):
    rows = [
        (
            f"{c.table} {', '.join(map(str, c.pk.values()))}",
            c.decision,
            _cell(c.winner),
            _cell(c.loser),
        )
        for c in db.conflicts()
    ]
    print("\nThe conflict went to a function of the application: the later text, the worse severity.")
    _table(("row", "decision", "kept", "an edit that it replaced"), rows)
    if not rows:
        raise DemoError("both edited the same visit, and no conflict was found")


def _cell(change):
    if change is None:
        return "?"
    if change.payload is None:
        return "(deleted)"
    return f"{change.payload['finding']!r}, severity {change.payload['severity']}"


def _show_visits(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id, site_id, inspector, finding, severity FROM visit ORDER BY id")
        print("\nThe visits on both laptops:")
        _table(("visit", "site", "inspector", "finding", "severity"), rows.fetchall())


# ---- A database of the caller's

_EDITS_PER_TABLE = 20
_SEED = 20240701  # the same edits every time


def _own_database(folder, source):
    """The same with any database: all its tables that can be tracked, random edits on both sides."""
    folder.mkdir()
    left, right = folder / "left.db", folder / "right.db"
    _copy(source, left)
    _copy_schema(left, right)
    _title(f"{source.name}: a copy, and an empty replica beside it")
    broken = len(_broken_references(left))
    with csync.open(left) as at_left, csync.open(right) as at_right:
        tables = _track_all(left, at_left, at_right)
        started = time.perf_counter()
        first = at_right.sync(at_left, progress=_meter())
        seconds = time.perf_counter() - started
        counts = _counts(right, tables)
        print(f"{len(tables)} tables, {sum(counts.values())} rows copied by sync in {seconds:.2f} s:")
        _table(("table", "rows"), sorted(counts.items()))
        edits = random.Random(_SEED)
        done = [("left", _edit(left, at_left, edits)), ("right", _edit(right, at_right, edits))]
        print("\nRandom edits, with Python's own sqlite3:")
        _table(("replica", "updated", "deleted"), [(name, *numbers) for name, numbers in done])
        second = at_right.sync(at_left, progress=_meter())
        again = at_right.sync(at_left)
        print("\nWhat the syncs did:")
        _results([("first", first), ("after the edits", second), ("once more", again)])
        if first.parked + second.parked:
            print("  (parked: came before the row that they refer to, and waited for it)")
        _check(("left", at_left, left), ("right", at_right, right), broken=broken)


def _copy(source, target):
    """Byte by byte, with what waits in the write-ahead log: opening the file itself could write beside it."""
    if source.suffix.lower() == ".sql":
        with contextlib.closing(sqlite3.connect(target)) as connection:
            connection.executescript(source.read_text(encoding="utf-8-sig"))
        return
    shutil.copyfile(source, target)
    log = source.with_name(source.name + "-wal")
    if log.is_file():
        shutil.copyfile(log, target.with_name(target.name + "-wal"))
    with contextlib.closing(sqlite3.connect(target)) as connection:
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise DemoError(f"{source}: the copy is damaged; is a program writing it just now?")


def _copy_schema(source, target):
    """Tables, indexes, views and triggers, but not the inner tables of virtual ones and none of csync's."""
    order = "CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid"
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        inner = {row[1] for row in old.execute("PRAGMA table_list") if row[2] == "shadow"}
        statements = old.execute(
            "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            f" AND name NOT LIKE '\\_sync\\_%' ESCAPE '\\' ORDER BY {order}"
        )
        for table, statement in statements.fetchall():
            if table not in inner:
                new.execute(statement)
        new.commit()


def _track_all(path, *replicas):
    """Tracks what can be tracked, names what cannot, and returns the names of the tables."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = [
            row[1]
            for row in connection.execute("PRAGMA table_list")
            if row[0] == "main" and row[2] in ("table", "virtual") and not row[1].startswith(("sqlite_", "_sync_"))
        ]
    refused = []
    for name in sorted(names):
        try:
            for db in replicas:
                db.track(name)
        except csync.Error as error:
            refused.append((name, str(error)))
    if refused:
        print("Left out, because they cannot be tracked:")
        _table(("table", "why"), refused)
    tables = [table.name for table in replicas[0].tables()]
    if not tables:
        raise DemoError(f"{path.name} has no table that can be tracked")
    return tables


def _edit(path, db, edits):
    """Updates and deletes random rows; what a constraint forbids is left. Returns the two counts."""
    updated = deleted = 0
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for table in db.tables():
            key = ", ".join(map(_quote, table.key))
            where = " AND ".join(f"{_quote(column)} IS ?" for column in table.key)
            name = _quote(table.name)
            # The first rows, so that the two sides meet in some of them.
            rows = connection.execute(f"SELECT {key} FROM {name} ORDER BY {key} LIMIT ?", (4 * _EDITS_PER_TABLE,))
            rows = rows.fetchall()
            columns = _free_columns(connection, table)
            for row in edits.sample(rows, min(_EDITS_PER_TABLE, len(rows))):
                if columns and edits.random() < 0.8:
                    column = _quote(edits.choice(columns))
                    change = f"UPDATE {name} SET {column} = CASE typeof({column}) WHEN 'text' THEN {column} || ?"
                    change += f" WHEN 'null' THEN NULL WHEN 'blob' THEN {column} ELSE {column} + 1 END WHERE {where}"
                    updated += _try(connection, change, (f" #{edits.randrange(1000)}", *row))
                else:
                    deleted += _try(connection, f"DELETE FROM {name} WHERE {where}", row)
    return updated, deleted


def _free_columns(connection, table):
    """Columns that are no part of a key or of a reference."""
    references = {row[3] for row in connection.execute(f"PRAGMA foreign_key_list({_quote(table.name)})")}
    return [column for column in table.columns if column not in references and column not in table.key]


def _try(connection, statement, params):
    try:
        return connection.execute(statement, params).rowcount
    except sqlite3.IntegrityError:
        return 0


# ---- Checks and output


def _check(*sides, broken=0):
    """Both hold the same, nothing waits, and no reference hangs; else DemoError."""
    hashes = [db.hash() for _, db, _ in sides]
    parked = [len(db.parked()) for _, db, _ in sides]
    references = [len(_broken_references(path)) for _, _, path in sides]
    print("\nChecked:")
    _table(
        ("replica", "hash", "foreign_key_check", "waiting"),
        [
            (name, hash[:16] + "...", "ok" if count == 0 else f"{count} rows", waiting)
            for (name, _, _), hash, count, waiting in zip(sides, hashes, references, parked)
        ],
    )
    if any(parked):
        why = {p.message for _, db, _ in sides for p in db.parked()}
        raise DemoError("changes wait to enter their table: " + "; ".join(sorted(why)[:3]))
    if len(set(hashes)) != 1:
        raise DemoError("the replicas differ after the sync")
    if max(references) > broken:
        raise DemoError("PRAGMA foreign_key_check found rows whose parent is missing")
    print("\nThe replicas are equal.")


def _broken_references(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA foreign_key_check").fetchall()


def _counts(path, tables):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {_quote(table)}").fetchone()[0] for table in tables
        }


def _write(path, *statements):
    """One transaction of statements, each a text or a pair of text and parameters."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            connection.execute(*([statement] if isinstance(statement, str) else statement))


def _quote(name):
    return '"' + name.replace('"', '""') + '"'


def _meter():
    """A progress function for a person who watches; None where nobody does."""
    if not sys.stderr.isatty():
        return None
    shown = 0.0

    def show(progress):
        nonlocal shown
        now = time.monotonic()
        if now - shown > 0.1:
            shown = now
            of = f" of {progress.total}" if progress.total else ""
            print(f"\r{progress.phase}: {progress.changes}{of} changes\x1b[K\r", end="", file=sys.stderr, flush=True)

    return show


def _title(text):
    print(f"\n{text}\n{'=' * len(text)}")


def _results(rows):
    fields = ("pulled", "pushed", "duplicates", "lost", "conflicts", "parked", "rejected")
    _table(("sync", *fields), [(name, *(getattr(result, field) for field in fields)) for name, result in rows])


def _table(header, rows):
    """Columns, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    right = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *cells]:
        line = (
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(row, widths, right)
        )
        print("  " + "  ".join(line).rstrip())
