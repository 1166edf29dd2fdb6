"""A conflict that your function decides: both sides added votes to the same row. Run: python resolver.py"""

import csync

SCHEMA = "CREATE TABLE poll (id INTEGER PRIMARY KEY, question TEXT, votes INTEGER)"


def add_votes(local, remote, base):
    """Both sides' new votes count, whatever else the later edit says."""
    if local.operation == "delete" or remote.operation == "delete":
        return csync.resolve(local, remote)
    start = base.payload["votes"] if base else 0
    return {**remote.payload, "votes": local.payload["votes"] + remote.payload["votes"] - start}


with csync.open(":memory:") as a, csync.open(":memory:") as b:
    for db in (a, b):
        db.execute(SCHEMA)
        db.track("poll")
    a.execute("INSERT INTO poll VALUES (1, 'Tea or coffee?', 10)")
    a.sync(b)

    a.execute("UPDATE poll SET votes = votes + 5")
    b.execute("UPDATE poll SET votes = votes + 7")
    print(a.sync(b, on_conflict=add_votes))
    for conflict in a.conflicts():
        print("decided:", conflict.table, conflict.pk, conflict.decision)

    print(a.execute("SELECT votes FROM poll"), b.execute("SELECT votes FROM poll"))
    assert a.hash() == b.hash()
