"""Replicas of new PostgreSQL databases on one private server."""

import contextlib
import itertools
import sys

import pytest

import csync
import pg

TYPES = (
    "CREATE TYPE mood AS ENUM('sad','happy'); CREATE DOMAIN above_zero AS integer CHECK(VALUE>0);"
    "CREATE DOMAIN small AS above_zero CHECK(VALUE<10); CREATE DOMAIN amount AS numeric(40,10);"
    "CREATE TYPE pair AS (a integer, b text);"
)
_numbers = itertools.count(1)


def start():
    if pg.programs() is None:
        print("\nPostgreSQL is not installed: NOTHING of its backend is tested", file=sys.__stderr__)
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with pg.server() as home:
        yield home


def _session(stack, url):
    session = pg.Session(url)
    stack.callback(session.close)
    return session


def make(home):
    with contextlib.ExitStack() as stack:
        admin = _session(stack, f"postgresql://postgres@/postgres?host={home}")

        def new(schema="", *tables, **options):
            name = f"test{next(_numbers)}"
            admin(f"CREATE DATABASE {name}")
            stack.callback(admin, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # hundreds would fill the disk
            url = f"postgresql://postgres@/{name}?host={home}"
            session = _session(stack, url)
            if schema:
                session(schema.rstrip().rstrip(";"))
            db = stack.enter_context(csync.open(url, **options))
            db.url, db.sql = url, session
            db.more_sql = lambda: _session(stack, url)
            if tables:
                db.track(*tables)
            return db

        yield new
