"""The Python binding: functions of the application that csync calls, and what they raise."""

import contextlib
import gc
import sqlite3
import traceback
import weakref

import pytest

import csync
from note_table import Boom, count_notes, fill

# ---- Callbacks


@pytest.mark.parametrize(
    ("answer", "row"),
    [
        ("local", (1, "right", 17)),
        ("remote", (1, "left", 15)),
        (None, None),
        ({"votes": 22}, (1, "right", 22)),
        ({"id": 1, "body": b"\0merged", "votes": 2**62}, (1, b"\0merged", 2**62)),
    ],
)
def test_the_resolver_decides(conflict, answer, row):
    left, right = conflict
    result = right.sync(left, on_conflict=lambda local, remote, base: answer)
    assert result.conflicts == 1
    left.sync(right)
    for db in conflict:
        assert db.execute("SELECT * FROM note") == ([] if row is None else [row])
    entries = right.conflicts()  # one for each edit that was given up
    assert {(e.table, e.pk["id"], e.strategy) for e in entries} == {("note", 1, "custom")}
    assert {e.loser.payload["body"] for e in entries} <= {"left", "right"}
    assert right.conflicts(since_id=entries[-1].id) == []


def test_the_resolver_sees_copies_that_it_may_keep(conflict):
    left, right = conflict
    kept = []

    def resolver(*changes):
        kept.extend(changes)
        return "local"

    right.sync(left, on_conflict=resolver)
    right.close()
    local, remote, base = kept
    assert (local.payload["body"], remote.payload["body"]) == ("right", "left")
    assert (local.origin, remote.origin) == (right.origin, left.origin)
    assert base is None or base.payload["body"] == "start"


@pytest.mark.parametrize("answer", ["mine", 5, True, [], b"local", object()])
def test_a_wrong_answer_is_a_type_error_that_names_it(conflict, answer):
    left, right = conflict
    before = right.hash()
    with pytest.raises(TypeError) as caught:
        right.sync(left, on_conflict=lambda local, remote, base: answer)
    assert repr(answer) in str(caught.value)
    assert right.hash() == before and right.conflicts() == []


def test_what_a_resolver_raises_comes_out_and_everything_is_rolled_back(conflict):
    left, right = conflict
    left.execute("INSERT INTO note VALUES (2, 'comes first', 0)")
    before, boom, calls = right.hash(), Boom("no"), []

    def resolver(local, remote, base):
        calls.append(local)
        raise boom

    with pytest.raises(Boom) as caught:
        right.sync(left, on_conflict=resolver)
    assert caught.value is boom
    assert "resolver" in [frame.name for frame in traceback.extract_tb(boom.__traceback__)]
    assert len(calls) == 1
    assert right.hash() == before and right.conflicts() == []
    assert right.sync(left).conflicts == 1  # and it can be done again
    assert right.hash() == left.hash()


def test_no_callback_runs_after_one_has_failed(notes):
    left, right = notes
    fill(left, 50)
    right.sync(left)
    with contextlib.closing(sqlite3.connect(left.path)) as connection, connection:
        connection.execute("UPDATE note SET body = 'left'")
    with contextlib.closing(sqlite3.connect(right.path)) as connection, connection:
        connection.execute("UPDATE note SET body = 'right'")
    calls = []

    def resolver(local, remote, base):
        calls.append("resolver")
        raise Boom

    with pytest.raises(Boom):
        right.sync(left, on_conflict=resolver, progress=lambda p: calls.append("progress"))
    assert calls.count("resolver") == 1 and calls[-1] == "resolver"


def test_progress_is_reported_and_may_stop_the_sync(notes):
    left, right = notes
    fill(left, 500)
    seen = []
    right.sync(left, batch_size=100, progress=seen.append)
    assert {p.phase for p in seen} >= {"pulling"}
    assert [p.changes for p in seen if p.phase == "pulling"][-1] == 500
    assert all(p.bytes > 0 for p in seen if p.changes)
    fill(right, 0)
    left.execute("UPDATE note SET votes = 1")

    def stop(progress):
        raise Boom

    before = right.hash()
    with pytest.raises(Boom):
        right.sync(left, progress=stop)
    assert right.execute("SELECT count(*) FROM note WHERE votes = 1")[0][0] in range(500)
    assert right.hash() == before


def test_a_callback_cannot_use_its_own_replica(conflict):
    left, right = conflict

    def resolver(local, remote, base):
        with pytest.raises(csync.BusyError):
            right.hash()
        return "remote"

    assert right.sync(left, on_conflict=resolver).conflicts == 1


def test_closing_inside_a_callback_waits_for_the_call_to_end(conflict):
    left, right = conflict

    def resolver(local, remote, base):
        right.close()
        assert right.closed
        return "remote"

    result = right.sync(left, on_conflict=resolver)
    assert result.conflicts == 1
    with pytest.raises(csync.Misuse):
        right.hash()


def test_an_exception_frees_what_it_held(conflict):
    left, right = conflict

    class Thing:
        pass

    def resolver(local, remote, base):
        thing = Thing()
        references.append(weakref.ref(thing))
        raise Boom

    references = []
    with pytest.raises(Boom):
        right.sync(left, on_conflict=resolver)
    gc.collect()
    assert references[0]() is None


# ---- Remotes


def test_another_replica_is_a_remote_of_its_own_methods(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'left', 0)")
    right.execute("INSERT INTO note VALUES (2, 'right', 0)")
    result = left.sync(csync.Remote(fetch=right.changes, send=right.apply))
    assert (result.pulled, result.pushed) == (1, 1)
    assert left.hash() == right.hash()


def test_a_remote_may_answer_with_lists_texts_or_nothing(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'left', 0)")
    right.execute("INSERT INTO note VALUES (2, 'right', 0)")
    sent = []
    remote = csync.Remote(fetch=lambda since, size: list(right.changes(since, size)), send=sent.append)
    result = left.sync(remote, batch_size=7)
    assert (result.pulled, result.pushed) == (1, 1)
    assert [c.payload["body"] for batch in sent for c in batch] == ["left"]
    right.apply(sent[0])
    assert left.hash() == right.hash()


def test_fetch_is_told_where_to_go_on(notes):
    left, right = notes
    fill(right, 30)
    asked = []

    def fetch(from_version, batch_size):
        asked.append((from_version, batch_size))
        return right.changes(from_version, batch_size)

    assert left.pull(csync.Remote(fetch=fetch), batch_size=10).pulled == 30
    assert asked[:3] == [(0, 10), (10, 10), (20, 10)]


def test_a_batch_that_the_application_keeps_is_not_taken_from_it(notes):
    left, right = notes
    fill(right, 3)
    kept = []

    def fetch(from_version, batch_size):
        kept.append(right.changes(from_version, batch_size))
        return kept[-1]

    left.pull(csync.Remote(fetch=fetch))
    assert len(kept[0]) == 3


def test_what_a_delegate_raises_comes_out(notes):
    left, _ = notes
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    for options in ({"fetch": None}, {"send": None}):
        boom = Boom()

        def fail(*args):
            raise boom

        remote = csync.Remote(**{"fetch": lambda *args: [], "send": lambda batch: None} | dict.fromkeys(options, fail))
        with pytest.raises(Boom) as caught:
            left.sync(remote)
        assert caught.value is boom
    for remote in (csync.Remote(fetch=lambda *args: 5), csync.Remote(send=lambda batch: 5)):
        with pytest.raises(TypeError):
            (left.pull if remote.fetch else left.push)(remote)
    with pytest.raises(csync.Error):
        left.sync(csync.Remote())
    assert left.sync(csync.Remote(fetch=lambda *args: [], send=lambda batch: None)).pushed == 1


def test_a_session_is_driven_from_outside(notes):
    left, right = notes
    fill(left, 25)
    right.execute("INSERT INTO note VALUES (100, 'right', 0)")
    session, kinds = csync.Session(left, right.origin, batch_size=10), []
    while (step := session.next()).kind != "done":
        kinds.append(step.kind)
        if step.kind == "fetch":
            session.page(right.changes(step.since, step.limit))
        else:
            session.outcome(right.apply(step.batch))
    assert kinds[0] == "fetch" and kinds.count("send") == 3
    assert (session.result.pulled, session.result.pushed) == (1, 25)
    assert left.hash() == right.hash()


def test_a_session_raises_what_its_resolver_raises(conflict):
    left, right = conflict
    boom = Boom()

    def resolver(*changes):
        raise boom

    session = csync.Session(right, left.origin, on_conflict=resolver)
    step = session.next()
    with pytest.raises(Boom) as caught:
        session.page(left.changes(step.since, step.limit))
    assert caught.value is boom


def test_a_session_of_a_closed_replica_is_misuse(notes):
    left, _ = notes
    session = csync.Session(left, "peer")
    left.close()
    with pytest.raises(csync.Misuse):
        session.next()


# ---- suppressed


def test_suppressed_writes_are_not_captured(notes):
    left, right = notes
    with left.suppressed():
        left.execute("INSERT INTO note VALUES (1, 'hidden', 0)")
    left.execute("INSERT INTO note VALUES (2, 'seen', 0)")
    assert [c.pk["id"] for c in left.changes()] == [2]
    assert count_notes(left) == 2


def test_suppressed_rolls_back_when_the_block_raises(notes):
    left, _ = notes
    boom = Boom()
    with pytest.raises(Boom) as caught, left.suppressed():
        left.execute("INSERT INTO note VALUES (1, 'gone', 0)")
        raise boom
    assert caught.value is boom
    assert count_notes(left) == 0
    left.execute("INSERT INTO note VALUES (1, 'kept', 0)")
    assert len(left.changes()) == 1


def test_only_execute_works_while_suppressed(notes):
    left, right = notes
    with left.suppressed():
        with pytest.raises(csync.BusyError):
            left.sync(right)
        with pytest.raises(csync.Misuse), left.suppressed():
            pass
    assert left.sync(right).pushed == 0
