"""PostgreSQL: rows that exclude each other by more than equality: the later is visible and the earlier waits."""

import pytest
from note_table import wait_a_moment
from test_postgres import in_step, parked

ROOM = "CREATE TABLE room(id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&){})"
SEAT = "CREATE TABLE room(id int PRIMARY KEY, during int, seat text, UNIQUE NULLS NOT DISTINCT (during, seat))"


def settle(*dbs):
    for _ in range(3):
        for db in dbs[1:]:
            db.sync(dbs[0])
    in_step(*dbs)


def ids(db):
    return [row[0] for row in db.execute("SELECT id FROM room ORDER BY id")]


def test_of_rows_that_overlap_the_later_is_visible_everywhere(pg_replica):
    hub, one, two = (pg_replica(ROOM.format(" WHERE (id<100)"), "room") for _ in range(3))
    one.execute("INSERT INTO room VALUES (1,'[1,5)'),(101,'[1,5)')")
    wait_a_moment()
    two.execute("INSERT INTO room VALUES (2,'[4,9)'),(102,'[1,5)')")
    settle(hub, one, two)
    for db in (hub, one, two):
        assert (ids(db), parked(db)) == ([2, 101, 102], [(1, "unique")])
    one.execute("DELETE FROM room WHERE id=2")
    settle(hub, one, two)
    for db in (hub, one, two):
        assert (ids(db), parked(db)) == ([1, 101, 102], [])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_chain_of_rows_ends_alike_in_whatever_order_it_comes(pg_replica, order):
    makers = [pg_replica(ROOM.format(""), "room") for _ in range(3)]
    for db, row in zip(makers, ("(1,'[1,5)')", "(2,'[4,9)')", "(3,'[8,12)')")):
        db.execute(f"INSERT INTO room VALUES {row}")
        wait_a_moment()
    hub = pg_replica(ROOM.format(""), "room")
    for number in order:
        makers[number].push(hub)
    assert (ids(hub), parked(hub)) == ([1, 3], [(2, "unique")])


def test_of_rows_whose_nulls_are_the_same_the_later_is_visible_everywhere(pg_replica):
    hub = pg_replica()
    if int(hub.sql("SHOW server_version_num")[0]) < 150000:
        pytest.skip("this server has no NULLS NOT DISTINCT")
    hub.sql(SEAT)
    hub.track("room")
    one, two = (pg_replica(SEAT, "room") for _ in range(2))
    one.execute("INSERT INTO room VALUES (1,NULL,'a'),(3,NULL,NULL),(5,7,NULL)")
    wait_a_moment()
    two.execute("INSERT INTO room VALUES (2,NULL,'a'),(4,NULL,NULL),(6,7,'a')")
    settle(hub, one, two)
    for db in (hub, one, two):
        assert (ids(db), parked(db)) == ([2, 4, 5, 6], [(1, "unique"), (3, "unique")])
    two.execute("DELETE FROM room WHERE id=4")
    settle(hub, one, two)
    for db in (hub, one, two):
        assert (ids(db), parked(db)) == ([2, 3, 5, 6], [(1, "unique")])
