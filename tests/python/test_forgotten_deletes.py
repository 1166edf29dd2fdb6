"""Whoever reads a snapshot never hears of the deletes that its maker has forgotten; they must not come back through it."""

import shutil

import pytest
from note_table import NOTE
from test_protocol import put, restored, settle


@pytest.fixture
def world(replicas):
    """A server that has forgotten the delete of row 1; a client that heard of it, and a stranger that has the row still."""
    server, client, stranger, newcomer = replicas(NOTE, "note", count=4)
    put(server, 1, 2)
    settle(server, client, stranger)
    server.forget_client(stranger.origin)
    server.execute("DELETE FROM note WHERE id = 1")
    put(server, 3)
    for _ in range(2):
        client.sync(server)
    assert server.purge().tombstones == 1
    return server, client, stranger, newcomer


def ids(replica):
    return [row[0] for row in replica.execute("SELECT id FROM note ORDER BY id")]


@pytest.mark.parametrize("way", ["pull", "push"])
def test_a_row_that_the_server_has_deleted_does_not_come_back_through_one_that_read_its_snapshot(world, way):
    server, client, stranger, newcomer = world
    assert newcomer.sync(server).resyncs == 1
    newcomer.pull(stranger) if way == "pull" else stranger.push(newcomer)
    assert ids(newcomer) == [2, 3]
    assert [(c.strategy, c.loser.pk) for c in newcomer.conflicts()] == [("forgotten delete", {"id": 1})]
    settle(server, newcomer)
    assert [row[0] for row in settle(newcomer, stranger, client)] == [2, 3]


def test_nor_through_one_that_read_a_snapshot_of_that_one(world, replicas):
    server, client, stranger, newcomer = world
    newcomer.sync(server)
    (late,) = replicas(NOTE, "note", count=1)
    put(newcomer, 4)
    newcomer.execute("DELETE FROM note WHERE id = 4")
    put(newcomer, 5)
    for _ in range(2):
        newcomer.sync(server)
    assert newcomer.purge().entries > 0
    assert late.sync(newcomer).resyncs == 1
    late.pull(stranger)
    assert ids(late) == [2, 3, 5]


def test_an_old_row_from_somebody_who_heard_of_the_delete_in_the_log_is_taken(replicas):
    """Made before the delete, it arrives after it, by a peer that read what the snapshot's reader did not."""
    server, client, device, newcomer = replicas(NOTE, "note", count=4)
    put(device, 9)
    put(server, 1, 2)
    client.sync(server)
    server.execute("DELETE FROM note WHERE id = 1")
    put(server, 3)
    for _ in range(2):
        client.sync(server)
    assert server.purge().tombstones == 1
    assert newcomer.sync(server).resyncs == 1
    device.sync(client)
    newcomer.sync(client)
    assert ids(newcomer) == [2, 3, 9] and not newcomer.conflicts()
    assert [row[0] for row in settle(server, client, newcomer)] == [2, 3, 9]


@pytest.fixture
def ring(replicas):
    """A phone whose row 1 a server took, deleted and forgot, which the phone does not know; the server's mirror forgot it too."""
    server, mirror, phone = replicas(NOTE, "note", count=3)
    put(phone, 1)
    server.pull(phone)
    server.execute("DELETE FROM note WHERE id = 1")
    put(server, 2)
    for _ in range(2):
        mirror.pull(server)
        server.pull(mirror)
    assert server.purge().tombstones == mirror.purge().tombstones == 1
    return server, mirror, phone


def test_a_row_that_was_taken_from_its_author_and_deleted_does_not_come_back_through_others(ring):
    server, mirror, phone = ring
    assert phone.pull(mirror).resyncs == 1
    assert ids(phone) == [1, 2]  # nobody has told the phone that its row was ever taken
    mirror.pull(phone)
    server.pull(mirror)
    assert ids(server) == [2]
    assert [(c.strategy, c.loser.pk) for c in server.conflicts()] == [("forgotten delete", {"id": 1})]
    assert [row[0] for row in settle(server, mirror, phone)] == [2]


def test_a_row_that_its_author_made_after_a_restore_under_the_same_number_is_none_of_those(replicas, tmp_path):
    server, mirror, phone = replicas(NOTE, "note", count=3)
    backup = shutil.copy(phone.path, tmp_path / "backup.db")
    put(phone, 1)
    server.pull(phone)
    with restored(phone, backup) as again:
        put(again, 7)
        put(server, 3)
        server.execute("DELETE FROM note WHERE id = 3")
        put(server, 4)
        for _ in range(2):
            mirror.pull(server)
            server.pull(mirror)
        assert server.purge().tombstones == 1
        mirror.pull(again)
        server.pull(mirror)
        assert ids(server) == [1, 4, 7] and not server.conflicts()


def test_a_delete_that_is_made_again_is_in_no_conflict_with_the_row_that_it_is_about(world):
    server, _, stranger, newcomer = world
    newcomer.sync(server)
    result = newcomer.sync(stranger, on_conflict=lambda local, remote, base: pytest.fail("nobody has to decide"))
    assert result.conflicts == 1
    assert [c.strategy for c in newcomer.conflicts()] == ["forgotten delete"]
    assert ids(newcomer) == ids(stranger) == [2, 3]
