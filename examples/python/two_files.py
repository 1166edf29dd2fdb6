"""Two SQLite files, written apart, brought together. Run: python two_files.py"""

import pathlib
import sqlite3
import tempfile

import csync

with tempfile.TemporaryDirectory() as folder:
    laptop, phone = pathlib.Path(folder, "laptop.db"), pathlib.Path(folder, "phone.db")
    for path in (laptop, phone):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)")
        connection.close()

    with csync.open(laptop) as a, csync.open(phone) as b:
        a.track("note")
        b.track("note")

        # Any program may write; here csync's own connection does.
        a.execute("INSERT INTO note VALUES (?, ?)", ("shopping", "bread"))
        b.execute("INSERT INTO note VALUES (?, ?)", ("trip", "tickets"))

        result = a.sync(b)
        print(result)
        print(a.execute("SELECT * FROM note ORDER BY id"))
        assert result.pulled == result.pushed == 1
        assert a.hash() == b.hash()
