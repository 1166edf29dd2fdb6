"""csync on the application's own sqlite3 connection, here one in memory. Run: python live_connection.py"""

import sqlite3

import csync

connection = sqlite3.connect(":memory:")
connection.execute("CREATE TABLE score (player TEXT PRIMARY KEY, points INTEGER)")
try:
    db = csync.open(connection)
except csync.Unsupported as why:  # an interpreter whose sqlite3 cannot load extensions
    print(why)
else:
    with db, csync.open(":memory:") as other:
        other.execute("CREATE TABLE score (player TEXT PRIMARY KEY, points INTEGER)")
        for replica in (db, other):
            replica.track("score")
        with connection:  # commit: csync needs the connection without an open transaction
            connection.execute("INSERT INTO score VALUES ('Ada', 9223372036854775807)")
        db.push(other)
        print(other.execute("SELECT * FROM score"))
connection.close()
