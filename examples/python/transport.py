"""Your own transport: batches travel as JSON text, over whatever you have. Run: python transport.py"""

import csync


def connect(other):
    """A Remote that reaches `other` through text alone, as over a message queue or a serial line."""

    def fetch(from_version, batch_size):
        text = from_version.to_json()  # on our side
        answer = other.changes(csync.Position.from_json(text), batch_size).to_json()  # on theirs
        return csync.Batch.from_json(answer)  # and back

    def send(batch):
        text = batch.to_json()  # on our side
        answer = other.apply(csync.Batch.from_json(text)).outcomes.to_json()  # on theirs
        return csync.Outcomes.from_json(answer)  # and back

    return csync.Remote(fetch=fetch, send=send, name=other.origin)


with csync.open(":memory:") as a, csync.open(":memory:") as b:
    for db in (a, b):
        db.execute("CREATE TABLE reading (sensor TEXT, at INTEGER, value REAL, raw BLOB, PRIMARY KEY (sensor, at))")
        db.track("reading")
    a.execute("INSERT INTO reading VALUES ('boiler', 1719830400123456789, 71.25, x'0047')")
    b.execute("INSERT INTO reading VALUES ('tank', 1719830400987654321, 0.1, x'00FF')")

    print(a.sync(connect(b)))
    print(b.execute("SELECT * FROM reading ORDER BY at"))
    assert a.hash() == b.hash()
