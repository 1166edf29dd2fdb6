"""A program that knows nothing of csync and writes to a database until its input is closed:
writer.py DATABASE NAME SHARED_COUNTER. Then it prints as JSON what it has committed."""

import json
import random
import sqlite3
import sys
import threading
import time

TIMEOUT = 120.0


class Writer:
    def __init__(self, path, name, shared):
        self.db = sqlite3.connect(path, timeout=TIMEOUT, isolation_level=None)
        self.name, self.shared = name, shared
        self.random = random.Random(name)
        self.made = 0  # names of rows are never used twice
        self.rows = {}  # of this writer, as committed
        self.count = self.writes = self.transactions = self.rolled_back = 0
        self.longest = 0.0

    def write_some(self, rows):
        """A few statements; how many rows they wrote."""
        writes = 0
        for _ in range(self.random.randint(1, 5)):
            kind = self.random.random()
            if rows and kind < 0.25:
                key = self.random.choice(sorted(rows))
                rows[key] = self.random.random()
                writes += self.db.execute("UPDATE entry SET v = ? WHERE id = ?", (rows[key], key)).rowcount
            elif rows and kind < 0.4:
                key = self.random.choice(sorted(rows))
                del rows[key]
                writes += self.db.execute("DELETE FROM entry WHERE id = ?", (key,)).rowcount
            else:
                self.made += 1
                key = f"{self.name}-{self.made}"
                rows[key] = self.random.random()
                writes += self.db.execute("INSERT INTO entry VALUES (?, ?)", (key, rows[key])).rowcount
        return writes

    def transaction(self):
        rows = dict(self.rows)
        started = time.monotonic()
        self.db.execute("BEGIN IMMEDIATE")
        writes = self.write_some(rows)
        if self.random.random() < 0.2:  # a part of it is undone
            self.db.execute("SAVEPOINT part")
            self.write_some(dict(rows))
            self.db.execute("ROLLBACK TO part")
            self.db.execute("RELEASE part")
        for counter in (self.name, self.shared):
            writes += self.db.execute("UPDATE counter SET n = n + 1 WHERE id = ?", (counter,)).rowcount
        if self.random.random() < 0.2:
            self.db.execute("ROLLBACK")
            self.rolled_back += 1
        else:
            self.db.execute("COMMIT")
            self.rows, self.count, self.writes = rows, self.count + 1, self.writes + writes
        self.transactions += 1
        self.longest = max(self.longest, time.monotonic() - started)


def main():
    writer = Writer(*sys.argv[1:])
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    error = None
    try:
        while not stop.wait(writer.random.random() * 0.02):
            writer.transaction()
    except sqlite3.OperationalError as e:
        error = str(e)
    names = ("name", "shared", "rows", "count", "writes", "transactions", "rolled_back", "longest")
    print(json.dumps({name: getattr(writer, name) for name in names} | {"error": error}))


if __name__ == "__main__":
    main()
