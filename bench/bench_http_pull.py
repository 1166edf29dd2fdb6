"""A pull over HTTP on this machine, over the same pull from a file in this process.

    .venv/bin/python bench/bench_http_pull.py

From the same database into an empty replica, in turns. CPU over HTTP is that of the client and of the server together.
(What pages weigh on the wire: bench_wire.py.) BENCH_ROWS (200000); BENCH_ROUNDS (3), of which the least counts.
"""

import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "shared"))
import csync
import notes
from servers import csync_server, setting

ROWS, ROUNDS = setting("BENCH_ROWS", 200000), setting("BENCH_ROUNDS", 3)


def pull(path, peer, server_cpu):
    """Seconds of wall time, of this process' CPU, of the server's."""
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    with notes.empty(path) as db:
        began = time.perf_counter(), time.process_time(), server_cpu()
        result = db.pull(peer)
        ended = time.perf_counter(), time.process_time(), server_cpu()
        if result.pulled != ROWS:
            sys.exit(f"{result.pulled} of {ROWS} rows were pulled")
    return [end - begin for begin, end in zip(began, ended)]


def show(name, wall, here, there):
    print(f"{name:<12}{wall:7.2f} s, {ROWS / wall:8.0f} rows/s, CPU {here + there:6.2f} s (server {there:.2f} s)")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        with notes.fill(folder / "full.db", ROWS) as source, csync_server(folder, folder / "full.db") as server:
            url = f"http://127.0.0.1:{server.port}"
            rounds = [
                (
                    pull(folder / "near.db", source, lambda: 0.0),
                    pull(folder / "far.db", url, server.cpu),
                )
                for _ in range(ROUNDS)
            ]
        near, far = (min(times) for times in zip(*rounds))
    print(f"{ROWS} rows")
    show("in process", *near)
    show("over HTTP", *far)
    print(f"ratio: wall {far[0] / near[0]:.2f}, CPU {sum(far[1:]) / sum(near[1:]):.2f}")


if __name__ == "__main__":
    main()
