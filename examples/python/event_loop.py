"""A sync inside an event loop of your own: csync says what it needs, asyncio carries it. Run: python event_loop.py"""

import asyncio

import csync


async def sync(db, peer):
    session = csync.Session(db, peer.origin)
    while (step := session.next()).kind != "done":
        await asyncio.sleep(0.001)  # the way to the peer and back
        if step.kind == "fetch":
            session.page(peer.changes(step.since, step.limit))
        else:
            session.outcome(peer.apply(step.batch))
    return session.result


with csync.open(":memory:") as a, csync.open(":memory:") as b:
    for db in (a, b):
        db.execute("CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)")
        db.track("note")
    a.execute("INSERT INTO note VALUES ('a', 'from a')")
    b.execute("INSERT INTO note VALUES ('b', 'from b')")
    print(asyncio.run(sync(a, b)))
    assert a.hash() == b.hash()
