"""Foreign keys, UNIQUE, CHECK and NOT NULL: on every pair of databases the same rows are visible and the same are parked."""

import pytest

from conformance import CIRCLE, FAMILY, MAIL, NODE, NOTES, parked, run, settle, spelled, table
from note_table import wait_a_moment

MAILS = "SELECT id, address FROM mail ORDER BY id"
UNIQUE = pytest.mark.parametrize(
    "schema",
    [
        MAIL.format(" UNIQUE", ""),
        MAIL.format("", "CREATE UNIQUE INDEX any_case ON mail (lower(address))"),
        MAIL.format("", "CREATE UNIQUE INDEX of_some ON mail (address) WHERE id < 100"),
    ],
    ids=["column", "expression", "partial"],
)


# ---- Deletes and the rows that refer to what is deleted


def test_parent_and_child_deleted_parent_first(world):
    here, there = world.replicas(NODE.format("", ""), "node")
    here.execute("INSERT INTO node VALUES (1, 0, NULL), (2, 0, 1)")
    there.sync(here)
    run(here, "UPDATE node SET up = NULL WHERE id = 2; DELETE FROM node WHERE id = 1; DELETE FROM node WHERE id = 2")
    there.sync(here)
    assert table(there, "node") == [] and there.parked() == []
    here.execute("INSERT INTO node VALUES (1, 0, NULL)")
    settle(there, here)
    assert table(there, "node") == [(1, 0, None)]


def test_a_key_that_was_deleted_with_its_child_and_used_again_does_not_bring_the_child_back(world):
    here, there = world.replicas(NODE.format("", "ON DELETE CASCADE"), "node")
    here.execute("INSERT INTO node VALUES (1, 0, NULL), (2, 0, 1)")
    there.sync(here)
    run(here, "DELETE FROM node WHERE id = 1; INSERT INTO node VALUES (1, 0, NULL)")
    settle(there, here)
    assert table(there, "node") == [(1, 0, None)] and there.parked() == []


def three_generations(world, first, second):
    """The parent is deleted on one side while the other side gives it a child and a grandchild."""
    schema = FAMILY.format("NOT NULL ", f"ON DELETE {first}")
    schema += f"; CREATE TABLE grand (id INTEGER PRIMARY KEY, child INTEGER REFERENCES child (id) ON DELETE {second})"
    here, there = world.replicas(schema, "parent", "child", "grand")
    here.execute("INSERT INTO parent VALUES (1)")
    here.sync(there)
    here.execute("DELETE FROM parent")
    run(there, "INSERT INTO child VALUES (1, 1, 'c'); INSERT INTO grand VALUES (1, 1)")
    settle(here, there)
    return here, there


def generations(db):
    return [table(db, name) for name in ("parent", "child", "grand")]


@pytest.mark.parametrize(
    "first, second",
    [("NO ACTION", "CASCADE"), ("RESTRICT", "SET NULL"), ("CASCADE", "NO ACTION"), ("CASCADE", "RESTRICT"), ("SET NULL", "CASCADE")],
)
def test_a_delete_that_a_reference_refuses_parks_the_orphans(world, first, second):
    """One level that does not follow is enough, and nothing of what hangs from the parent is lost."""
    here, there = three_generations(world, first, second)
    for db in (here, there):
        assert generations(db) == [[], [], []]
        assert parked(db) == [("child", 1, "foreign key"), ("grand", 1, "foreign key")]
    there.execute("INSERT INTO parent VALUES (1)")
    settle(here, there)
    for db in (here, there):
        assert generations(db) == [[(1,)], [(1, 1, "c")], [(1, 1)]]
        assert db.parked() == []


@pytest.mark.parametrize("second", ["CASCADE", "SET NULL"])
def test_a_delete_that_every_level_follows(world, second):
    here, there = three_generations(world, "CASCADE", second)
    left = [(1, None)] if second == "SET NULL" else []
    for db in (here, there):
        assert generations(db) == [[], [], left]
        assert db.parked() == []


def test_set_null_on_a_column_that_takes_none(world):
    here, there = world.replicas(FAMILY.format("NOT NULL ", "ON DELETE SET NULL"), "parent", "child")
    here.execute("INSERT INTO parent VALUES (1)")
    here.sync(there)
    here.execute("DELETE FROM parent")
    there.execute("INSERT INTO child VALUES (1, 1, 'c')")
    settle(here, there)
    assert table(here, "child") == table(there, "child") == []
    assert parked(here) == [("child", 1, "foreign key")]


@pytest.mark.parametrize("null", ["NOT NULL ", ""])
def test_the_child_of_a_row_that_referred_to_itself(world, null):
    one, two, three = world.replicas(NODE.format(null, "ON DELETE SET NULL ON UPDATE CASCADE"), "node", count=3)
    two.execute("INSERT INTO node VALUES (6, 53, 6)")
    one.sync(two)
    two.execute("DELETE FROM node")
    one.execute("INSERT INTO node VALUES (1, 93, 6)")
    settle(one, two, three)


def test_a_later_edit_in_a_chain_of_references_rests(world):
    dbs = world.replicas(NODE.format("", "ON DELETE SET NULL ON UPDATE CASCADE"), "node", count=3)
    dbs[0].execute("INSERT INTO node VALUES (1, 93, NULL)")
    settle(*dbs)
    run(dbs[0], "INSERT INTO node VALUES (6, 93, 1); UPDATE node SET v = 1")
    settle(*dbs)
    assert table(dbs[2], "node") == [(1, 1, None), (6, 1, 1)]


def test_a_cycle_through_a_deleted_row(world):
    """One side closes a circle through the row that the other side deletes."""
    here, there = world.replicas(NODE.format("", ""), "node")
    here.execute("INSERT INTO node VALUES (1, 0, 1), (3, 0, 1), (2, 0, 3)")
    there.sync(here)
    there.execute("UPDATE node SET up = 2 WHERE id = 1")
    here.execute("DELETE FROM node WHERE id = 2")
    settle(there, here)
    assert table(here, "node") == []
    assert parked(here) == [("node", 1, "foreign key"), ("node", 3, "foreign key")]


def test_a_diamond_of_restrict(world):
    """A deletes three rows; B, later, replaces the lowest one, which needs the other two."""
    action = "INTEGER REFERENCES node (id) ON DELETE RESTRICT"
    here, there = world.replicas(f"CREATE TABLE node (id INTEGER PRIMARY KEY, p {action}, q {action})", "node")
    here.execute("INSERT INTO node VALUES (1, NULL, NULL), (5, 1, NULL), (2, 1, 5)")
    here.sync(there)
    for key in (2, 5, 1):
        here.execute(f"DELETE FROM node WHERE id = {key}")
    wait_a_moment()
    run(there, "UPDATE node SET p = 1; UPDATE node SET p = NULL WHERE id = 1; DELETE FROM node WHERE id = 2")
    there.execute("INSERT INTO node VALUES (2, 1, 5)")
    settle(there, here)
    assert table(here, "node") == [(1, None, None), (2, 1, 5), (5, 1, None)]


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT"])
def test_a_delete_that_rows_there_forbid_parks_those_rows(world, action):
    client, server = world.replicas(FAMILY.format("NOT NULL ", action), "parent", "child")
    client.execute("INSERT INTO parent VALUES (1)")
    settle(client, server)
    client.execute("DELETE FROM parent")
    server.execute("INSERT INTO child VALUES (10, 1, 'c')")
    settle(client, server)
    assert table(client, "parent") == table(client, "child") == []
    assert parked(client) == [("child", 10, "foreign key")]
    client.execute("INSERT INTO parent VALUES (1)")
    settle(client, server)
    assert table(server, "child") == [(10, 1, "c")]


def test_a_row_that_a_cascade_and_an_update_changed(world):
    here, there = world.replicas(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE); CREATE TABLE child (id INTEGER PRIMARY KEY,"
        " code TEXT REFERENCES parent (code) ON UPDATE CASCADE, v INTEGER)",
        "parent",
        "child",
    )
    run(here, "INSERT INTO parent VALUES (1, 'a'); INSERT INTO child VALUES (1, 'a', 0)")
    here.sync(there)
    run(here, "UPDATE parent SET code = 'b'; UPDATE child SET v = 99")
    settle(there, here)
    assert table(here, "child") == table(there, "child") == [(1, "b", 99)]


FOLLOWS = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE, mark INTEGER);
CREATE TABLE child (id INTEGER PRIMARY KEY, code TEXT UNIQUE REFERENCES parent (code) ON UPDATE {0}, v INTEGER);
CREATE TABLE grandchild (id INTEGER PRIMARY KEY, code TEXT REFERENCES child (code) ON UPDATE {0});
"""


def followed(world, action="CASCADE", count=3):
    dbs = world.replicas(FOLLOWS.format(action), "grandchild", "child", "parent", count=count)
    run(dbs[0], "INSERT INTO parent VALUES (1, 'a', 0), (2, 'y', 0), (3, 'z', 0)")
    settle(*dbs)
    return dbs


@pytest.mark.parametrize("way", ["pull", "push"])
@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_rows_that_follow_a_unique_value_of_an_applied_row_are_the_same_everywhere(world, action, way):
    author, other, third = followed(world, action)
    run(other, "INSERT INTO child VALUES (1, 'a', 0); INSERT INTO grandchild VALUES (1, 'a')")
    run(author, "UPDATE parent SET code = 'b' WHERE id = 1")
    if way == "pull":
        other.pull(author)
        third.pull(other)
    else:
        other.push(author)
        third.pull(author)
    settle(author, other, third)
    settle(third, other, author)
    followed_to = "b" if action == "CASCADE" else None
    for db in (author, other, third):
        assert (table(db, "child"), table(db, "grandchild")) == ([(1, followed_to, 0)], [(1, followed_to)])
        assert db.parked() == []


def test_many_rows_whose_unique_values_are_followed_come_in_one_batch(world):
    author, other = followed(world, count=2)
    for i in range(10, 60):
        author.execute(f"INSERT INTO parent VALUES ({i}, 'p{i}', 0)")
    settle(author, other)
    for i in range(10, 60):
        other.execute(f"INSERT INTO child VALUES ({i}, 'p{i}', 0)")
    run(author, "UPDATE parent SET mark = 1; UPDATE parent SET code = 'q' || id WHERE id IN (20, 40)")
    settle(other, author)
    codes = {i: f"q{i}" if i in (20, 40) else f"p{i}" for i in range(10, 60)}
    assert table(author, "child") == table(other, "child") == [(i, code, 0) for i, code in codes.items()]


def test_who_only_reads_that_a_row_followed_beats_no_edit_of_it(world):
    author, reader, editor = followed(world)
    run(author, "INSERT INTO child VALUES (1, 'a', 0)")
    settle(author, reader, editor)
    run(author, "UPDATE parent SET code = 'b' WHERE id = 1")
    wait_a_moment()
    run(editor, "UPDATE child SET v = 7 WHERE id = 1")
    wait_a_moment()
    reader.sync(author)
    settle(editor, author, reader)
    assert table(author, "child") == table(reader, "child") == table(editor, "child") == [(1, "b", 7)]


def test_a_key_that_follows_a_unique_value(world):
    schema = (
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE); CREATE TABLE child (code TEXT"
        " REFERENCES parent (code) ON UPDATE CASCADE, n INTEGER, v INTEGER, PRIMARY KEY (code, n))"
    )
    author, other, third = world.replicas(schema, "parent", "child", count=3)
    run(author, "INSERT INTO parent VALUES (1, 'a'); INSERT INTO child VALUES ('a', 1, 0)")
    settle(author, other, third)
    run(other, "INSERT INTO child VALUES ('a', 2, 0)")
    run(author, "UPDATE parent SET code = 'b'")
    settle(other, author, third)
    settle(third, author, other)
    for db in (author, other, third):
        assert table(db, "child") == [("b", 1, 0), ("b", 2, 0)]
        assert db.parked() == []


# ---- The order in which rows come

SHOP = """
CREATE TABLE artist(id INTEGER PRIMARY KEY, name VARCHAR(120));
CREATE TABLE album(id INTEGER PRIMARY KEY, title VARCHAR(160) NOT NULL, artist INTEGER NOT NULL REFERENCES artist(id));
CREATE TABLE track(id INTEGER PRIMARY KEY, name VARCHAR(200) NOT NULL, album INTEGER REFERENCES album(id),
    price NUMERIC(10,2) NOT NULL);
"""


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_a_shop_with_foreign_keys(world, batch_size):
    client, server = world.replicas(SHOP, "track", "album", "artist")
    run(server, "INSERT INTO artist VALUES (1,'Accept'); INSERT INTO album VALUES (2,'Restless and Wild',1)")
    run(server, "INSERT INTO track VALUES (4,'Fast As a Shark',2,0.99)")
    run(client, "INSERT INTO artist VALUES (7,'Ärzte \"x\" \\ ''y'''); INSERT INTO album VALUES (8,'Debil',7)")
    client.sync(server, batch_size=batch_size)
    assert client.hash() == server.hash()
    run(client, "DELETE FROM track; DELETE FROM album WHERE id=2; DELETE FROM artist WHERE id=1")
    client.sync(server, batch_size=batch_size)
    settle(client, server)
    assert table(server, "album") == [(8, "Debil", 7)]


def test_a_child_waits_for_its_parent(world):
    client, server = world.replicas(SHOP, "track", "album")
    run(client, "INSERT INTO artist VALUES (1,'not tracked'); INSERT INTO album VALUES (2,'waits',1)")
    client.sync(server)
    assert table(server, "album") == []
    assert parked(server) == [("album", 2, "foreign key")]
    run(server, "INSERT INTO artist VALUES (1,'is here'); INSERT INTO album VALUES (3,'wakes the other',1)")
    settle(client, server)
    assert server.parked() == [] and len(table(server, "album")) == 2


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_rows_that_refer_to_each_other_let_each_other_in(world, batch_size):
    client, server, other = world.replicas(CIRCLE, "a", "b", count=3)
    client.other("BEGIN; INSERT INTO a VALUES (1,2); INSERT INTO b VALUES (2,1); COMMIT")
    client.other(spelled(client, "rows without their parents", "INSERT INTO a VALUES (3,4)", "a"))
    for _ in range(3):
        client.sync(server, batch_size=batch_size)
        other.sync(server, batch_size=batch_size)
    for db in (server, other):
        assert table(db, "a") == [(1, 2)]
        assert table(db, "b") == [(2, 1)]
        assert parked(db) == [("a", 3, "foreign key")]
    other.execute("INSERT INTO b VALUES (4,NULL)")
    settle(server, other, client)
    assert server.parked() == []


def test_a_chain_of_parked_rows_enters_at_once(world):
    """Each of them waits for the one before it."""
    here, there = world.replicas(NODE.format("", ""), "node")
    rows = ", ".join(f"({n}, 0, {n - 1})" for n in range(2, 60))
    here.other(spelled(here, "rows without their parents", f"INSERT INTO node VALUES {rows}", "node"))
    there.pull(here)
    assert len(there.parked()) == 58
    here.execute("INSERT INTO node VALUES (1, 0, NULL)")
    there.pull(here)
    assert there.parked() == [] and len(table(there, "node")) == 59


# ---- UNIQUE


@UNIQUE
@pytest.mark.parametrize("first", [0, 1])
def test_of_two_rows_with_one_value_the_later_is_visible(world, schema, first):
    client, server = dbs = world.replicas(schema, "mail")
    one, two = dbs[first], dbs[1 - first]
    one.execute("INSERT INTO mail VALUES (1,'ann')")
    wait_a_moment()
    two.execute("INSERT INTO mail VALUES (2,'ann')")
    settle(client, server)
    assert client.execute(MAILS) == server.execute(MAILS) == [(2, "ann")]
    assert parked(client) == [("mail", 1, "unique")]
    one.execute("UPDATE mail SET address = 'bob'")
    settle(client, server)
    assert client.execute(MAILS) == server.execute(MAILS) == [(1, "ann"), (2, "bob")]
    assert client.parked() == []


@UNIQUE
def test_of_three_rows_with_one_value_the_latest_is_visible(world, schema):
    dbs = hub, left, right = world.replicas(schema, "mail", count=3)
    for number, db in enumerate((right, hub, left), 1):
        db.execute(f"INSERT INTO mail VALUES ({number}, 'x')")
        wait_a_moment()
    settle(hub, left, right)
    for db in dbs:
        assert db.execute(MAILS) == [(3, "x")]
        assert parked(db) == [("mail", 1, "unique"), ("mail", 2, "unique")]
    hub.execute("UPDATE mail SET address = 'y' WHERE id = 3")
    settle(hub, left, right)
    assert right.execute(MAILS) == [(2, "x"), (3, "y")]
    assert parked(right) == [("mail", 1, "unique")]


def test_rows_that_swap_their_values_arrive_swapped(world):
    client, server = world.replicas(MAIL.format(" UNIQUE", ""), "mail")
    run(client, "INSERT INTO mail VALUES (1,'x'); INSERT INTO mail VALUES (2,'y')")
    client.sync(server)
    run(client, "UPDATE mail SET address='-' WHERE id=1; UPDATE mail SET address='x' WHERE id=2")
    run(client, "UPDATE mail SET address='y' WHERE id=1")
    client.sync(server, batch_size=1)
    settle(client, server)
    assert server.execute(MAILS) == [(1, "y"), (2, "x")] and server.parked() == []


def test_a_row_that_waits_while_its_old_state_is_evicted_is_parked_no_more(world):
    """What comes for row 3 has to wait for row 1, whose new value drives out the old state of row 3."""
    client, server = world.replicas(MAIL.format(" UNIQUE", ""), "mail")
    for db, row in (server, (3, "z")), (client, (3, "x")), (server, (1, "x")), (client, (1, "z")):
        db.execute(f"INSERT INTO mail VALUES {row}")
        wait_a_moment()
    server.pull(client)
    assert server.execute(MAILS) == [(1, "z"), (3, "x")] and server.parked() == []
    settle(client, server)


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", "ON DELETE CASCADE", "ON DELETE SET NULL"])
def test_the_loser_of_a_collision_takes_its_children_along_and_back(world, action):
    letters = f"CREATE TABLE letter (id INTEGER PRIMARY KEY, mail INTEGER REFERENCES mail (id) {action})"
    client, server = world.replicas(MAIL.format(" UNIQUE", letters), "mail", "letter")
    run(client, "INSERT INTO mail VALUES (1,'ann'); INSERT INTO letter VALUES (10,1); INSERT INTO letter VALUES (11,1)")
    wait_a_moment()
    run(server, "INSERT INTO mail VALUES (2,'ann'); INSERT INTO letter VALUES (20,2)")
    settle(client, server)
    for db in (client, server):
        assert db.execute("SELECT id FROM letter ORDER BY id") == [(20,)]
        assert parked(db) == [("letter", 10, "foreign key"), ("letter", 11, "foreign key"), ("mail", 1, "unique")]
    client.execute("UPDATE mail SET address='bob' WHERE id=2")
    settle(client, server)
    assert table(server, "letter") == [(10, 1), (11, 1), (20, 2)] and server.parked() == []


# ---- What a row itself is refused for


def test_one_bad_row_stops_nothing_and_is_passed_on(world):
    loose = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, votes INTEGER)"
    strict = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT CHECK (body <> 'bad'), votes INTEGER NOT NULL)"
    left, middle = world.replica(world.kinds[0], loose, "note"), world.replica(world.kinds[1], strict, "note")
    right = world.replica(world.kinds[0], loose, "note")
    left.execute("INSERT INTO note VALUES (1, 'good', 0), (2, 'bad', 0), (3, 'good', NULL), (4, 'good', 0)")
    for batch_size in (1, 1000):
        assert left.sync(middle, batch_size=batch_size).rejected == 0
    right.sync(middle)
    assert [row[0] for row in table(middle, "note")] == [1, 4]
    assert parked(middle) == [("note", 2, "check"), ("note", 3, "not null")]
    assert table(right, "note") == table(left, "note")
    left.execute("UPDATE note SET body = 'mended' WHERE id = 2")
    right.execute("DELETE FROM note WHERE id = 3")
    settle(middle, left, right)
    assert middle.parked() == [] and len(table(middle, "note")) == 3


def test_a_row_may_go_and_come_back_while_it_is_parked(world):
    left, right = world.replicas(FAMILY.format("", ""), "child")
    run(left, "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1, 'a')")
    left.sync(right)
    assert parked(right) == [("child", 1, "foreign key")]
    left.execute("DELETE FROM child")
    left.sync(right)
    assert right.parked() == [] and left.hash() == right.hash()
    left.execute("INSERT INTO child VALUES (1, NULL, 'b')")
    settle(right, left)
    assert table(right, "child") == [(1, None, "b")]


def test_a_row_with_a_column_that_is_not_there_waits_for_the_column(world):
    left, right = world.replicas(NOTES, "note")
    left.execute("INSERT INTO note VALUES (1, 'before', 0)")
    right.sync(left)
    left.other("ALTER TABLE note ADD COLUMN due TEXT DEFAULT 'never'")
    left.other("INSERT INTO note VALUES (2, 'after', 0, 'today')")
    left.sync(right)
    assert parked(right) == [("note", 2, "unknown column")]
    right.other("INSERT INTO note VALUES (3, 'from the old schema', 0)")
    left.sync(right)
    assert left.execute("SELECT due FROM note WHERE id = 3") == [("never",)]
    right.other("ALTER TABLE note ADD COLUMN due TEXT DEFAULT 'never'")
    settle(right, left)
    assert right.parked() == [] and len(table(right, "note")) == 3
    right.other("UPDATE note SET due = 'now' WHERE id = 1")
    settle(left, right)
    assert left.execute("SELECT due FROM note WHERE id = 1") == [("now",)]


@pytest.mark.parametrize("default", ["", " DEFAULT 'never'", " DEFAULT 'it''s'"])
def test_an_edit_of_the_older_side_leaves_the_new_column_alone_everywhere(world, default):
    client, server = world.notes()
    run(client, "INSERT INTO note VALUES (1,'first',0); INSERT INTO note VALUES (2,'second',0)")
    settle(client, server)
    server.execute(f"ALTER TABLE note ADD COLUMN due TEXT{default}")
    server.execute("UPDATE note SET due='today' WHERE id=1")
    wait_a_moment()
    client.execute("UPDATE note SET body='older side'")
    client.push(server)
    left = default.partition("'")[2][:-1].replace("''", "'") or None
    rows = [(1, "older side", 0, "today"), (2, "older side", 0, left)]
    assert table(server, "note") == rows
    client.execute(f"ALTER TABLE note ADD COLUMN due TEXT{default}")
    settle(client, server)
    assert table(client, "note") == table(server, "note") == rows


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_relay_passes_on_the_rows_of_a_table_that_it_does_not_have(world, asked_before):
    left, right = world.notes()
    relay = world.replica(world.kinds[1], "")
    if asked_before:
        right.sync(relay)
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    relay.sync(left)
    right.sync(relay)
    assert table(right, "note") == [(1, "x", 0)] and relay.state.parked == 1


def test_what_came_for_an_untracked_table_enters_when_it_is_tracked(world):
    left, right = world.replica(world.kinds[0], NOTES, "note"), world.replica(world.kinds[1], NOTES)
    third = world.replica(world.kinds[0], NOTES, "note")
    left.execute("INSERT INTO note VALUES (1, 'early', 0)")
    right.sync(left)
    assert table(right, "note") == [] and right.state.parked == 1
    right.track("note")
    assert right.execute("SELECT body FROM note") == [("early",)] and right.parked() == []
    settle(right, left, third)
