"""PostgreSQL: roles without a superuser's rights, and the errors that say which right is missing."""

import contextlib

import pytest
from test_postgres import NOTES, in_step

import csync

ROLES = "CREATE ROLE shop LOGIN; CREATE ROLE clerk LOGIN"


@pytest.fixture
def world(pg_replica, postgres):
    """A database that csync has not seen, with table note of role shop; world.url("clerk") is a role's own."""
    db = pg_replica()
    db.close()
    (name,) = db.sql("SELECT current_database()")
    db.sql("DROP SCHEMA csync CASCADE; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    db.sql(ROLES)
    db.sql(NOTES.replace("INTEGER PRIMARY KEY", "serial PRIMARY KEY") + "; ALTER TABLE note OWNER TO shop")
    db.name = name
    db.url = lambda role: f"postgresql://{role}@/{name}?host={postgres}"
    yield db
    db.sql("DROP OWNED BY shop, clerk CASCADE; DROP ROLE shop, clerk")


def schemas(db):
    return db.sql("SELECT count(*) FROM pg_namespace WHERE nspname='csync'")


def test_an_owner_of_his_tables_only_needs_no_more(world, replica):
    with pytest.raises(csync.DatabaseError, match="schema csync; what helps: GRANT CREATE ON DATABASE test[0-9]+ TO shop"):
        csync.open(world.url("shop"))
    assert schemas(world) == ["0"]
    world.sql(f"GRANT CREATE ON DATABASE {world.name} TO shop")
    other = replica(NOTES, "note")
    other.execute("INSERT INTO note VALUES (7,'from SQLite',1)")
    with csync.open(world.url("shop")) as db:
        db.track("note")
        world.sql("GRANT INSERT ON note TO clerk; GRANT USAGE ON SEQUENCE note_id_seq TO clerk")
        world.sql("SET ROLE clerk; INSERT INTO note(text) VALUES ('by a clerk'); RESET ROLE")
        other.sync(db)
        other.sync(db)
        in_step(other, db)
        assert world.sql("SELECT nextval('note_id_seq')") == ["8"]


GRANTS = [
    ("GRANT USAGE ON SCHEMA csync TO clerk", "use csync's tables"),
    ("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA csync TO clerk", "use csync's tables"),
    ("GRANT ALL ON ALL SEQUENCES IN SCHEMA csync TO clerk", "use csync's tables"),
    ("GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON public.note TO clerk", "track this table"),
    ("GRANT UPDATE ON SEQUENCE public.note_id_seq TO clerk", "track this table"),
    ("GRANT CREATE ON SCHEMA csync TO clerk", "track this table"),
]


def test_each_right_that_a_role_lacks_is_named_with_the_grant_that_helps(world, postgres):
    with csync.open(world.url("postgres")):
        pass
    world.sql("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    for grant, what in [*GRANTS[:3], ("GRANT USAGE ON SCHEMA public TO clerk", "track this table"), *GRANTS[3:]]:
        with pytest.raises(csync.DatabaseError, match=f"may not {what}; what helps: .*{grant}"), track_note(world):
            pass
        assert world.sql("SELECT count(*) FROM csync._sync_tables") == ["0"]
        world.sql(grant)
    with track_note(world) as db:
        db.track("note", capture="keys")
        db.untrack("note")
    assert world.sql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\\_sync%'") == ["0"]


@contextlib.contextmanager
def track_note(world):
    with csync.open(world.url("clerk")) as db:
        db.track("note")
        yield db


def test_doctor_names_what_a_role_lacks(world):
    with csync.open(world.url("postgres")) as db:
        db.track("note")
    world.sql("; ".join(grant for grant, _ in GRANTS))
    with csync.open(world.url("clerk")) as db:
        assert [a.subject for a in db.doctor() if a.level == "error"] == []
        world.sql("REVOKE UPDATE ON note FROM clerk")
        (advice,) = [a for a in db.doctor() if a.level == "error"]
        assert advice.subject == "table note" and "GRANT UPDATE ON public.note TO clerk" in advice.text
        world.sql("REVOKE INSERT ON ALL TABLES IN SCHEMA csync FROM clerk")
        (advice,) = [a for a in db.doctor() if a.level == "error"]
        assert advice.subject == "schema csync" and "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES" in advice.text
