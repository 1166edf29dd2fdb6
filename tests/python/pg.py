"""A private PostgreSQL server out of Debian's package: one directory, one socket, no network."""

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

DONE = "-- the statement is done --"


def programs():
    """The directory of the newest server's programs, or None."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    return pathlib.Path(found[-1]).parent if found else None


def user():
    """As whom servers run, for subprocess: initdb refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    return {"user": "postgres" if "postgres" in names else "nobody", "extra_groups": []}


def _where():
    """In memory, where there is room: a database is 300 files."""
    memory = pathlib.Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30 else None


@contextlib.contextmanager
def server(*settings, on_disk=False):
    """The directory of the socket of a server that runs until the end of the block."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="csync-pg-", dir=None if on_disk else _where()))
    home.chmod(0o777)
    someone, bin = user(), programs()

    def run(*command):
        subprocess.run(command, check=True, capture_output=True, cwd=home, **someone)

    try:
        run(bin / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
            "--locale=C.UTF-8")
        options = f"-k {home} -c listen_addresses= -c fsync=off -c max_connections=40 -c max_prepared_transactions=2"
        options += "".join(f" -c {setting}" for setting in settings)
        run(bin / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log", "-o", options, "start")
        try:
            yield home
        finally:
            run(bin / "pg_ctl", "-D", home / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def url(home, database):
    """Of a database of the server with that directory."""
    return f"postgresql://postgres@/{database}?host={home}"


class Session:
    """Another program's connection: psql, which is kept open."""

    def __init__(self, url):
        command = ["psql", "-X", "-q", "-A", "-t", "-F", "|", "-v", "ON_ERROR_STOP=0", url]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def send(self, statement):
        """Without waiting for the answer."""
        self.process.stdin.write(f"{statement}\n\\echo {DONE}\n")
        self.process.stdin.flush()

    def answer(self):
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n") == DONE:
                return lines
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"psql is gone: {lines}")

    def __call__(self, statement):
        """The rows as text, columns separated by |; an error of the server is an AssertionError."""
        self.send(statement if statement.startswith("\\") else statement + ";")
        lines = self.answer()
        assert not any(line.startswith("ERROR") for line in lines), lines
        return lines

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
