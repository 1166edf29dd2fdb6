"""Servers in processes of their own, `csync serve` and nginx, and what they spend."""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

START = 20.0  # seconds that a server may take to answer


def setting(name, otherwise):
    return int(os.environ.get(name, otherwise))


def many_files():
    """A connection is a file, here and in the servers, which get the limit from us."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_of(pid):
    """Seconds of CPU that a process has had, of all its threads. (The clock of another process is named so:
    clock_getcpuclockid(3).)"""
    return time.clock_gettime(~pid << 3 | 2)


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Server:
    """pids: its processes; port: where it listens."""

    def __init__(self, pids, port):
        self.pids, self.port = pids, port

    def cpu(self):
        """Seconds that its processes have had."""
        return sum(cpu_of(pid) for pid in self.pids)

    def memory(self):
        """KiB of PSS without files: how many other programs have the same libraries open comes and goes."""
        found = 0
        for pid in self.pids:
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    found += int(line.split()[1])
        return found


def connect(port):
    made = socket.create_connection(("127.0.0.1", port), timeout=60)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def _process(command, **options):
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def csync_server(folder, database):
    """`csync serve` of one database, without a log and without limits of one address."""
    config = folder / "server.json"
    config.write_text('{"rate": -1, "maxPerAddress": 100000, "maxConnections": 20000, "maxStreams": 20000}')
    command = [sys.executable, "-P", "-m", "csync", "serve", f"main={database}", "--listen", "127.0.0.1:0", "--quiet"]
    with _process([*command, "--config", config], stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().rpartition(":")[2].strip(" /\n"))
        yield Server([process.pid], port)


def _modules():
    """Where nginx's modules are, as nginx itself says."""
    told = subprocess.run(["nginx", "-V"], capture_output=True, text=True).stderr
    for option in told.split():
        if option.startswith("--modules-path="):
            return pathlib.Path(option.partition("=")[2])
    return pathlib.Path("/usr/lib/nginx/modules")


def _needed(module):
    """The lines of a configuration that load it."""
    if not shutil.which("nginx"):
        sys.exit("nginx is not installed: script/bootstrap --for bench installs it")
    if module is None:
        return ""
    path = _modules() / module
    if not path.exists():
        sys.exit(f"{path} is not there: script/bootstrap --for bench installs it")
    return f"load_module {path};\n"


def _configuration(folder, module, port, in_http, in_server):
    user = "user root;\n" if os.getuid() == 0 else ""
    paths = "".join(f"  {kind}_temp_path {folder};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""{_needed(module)}{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {resource.getrlimit(resource.RLIMIT_NOFILE)[0]};
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 20000; }}
http {{
{paths}  access_log off;
  sendfile on;
  open_file_cache max=10;
  keepalive_requests 100000000;
  keepalive_timeout 600;
  default_type application/json;
{in_http}
  server {{ listen 127.0.0.1:{port}; root {folder}; {in_server} }}
}}
"""


def _is_up(pid, port):
    """The master listens before its worker is there."""
    with contextlib.suppress(OSError):
        connect(port).close()
        return bool(children(pid))
    return False


@contextlib.contextmanager
def nginx(folder, module=None, in_http="", in_server=""):
    """nginx with one worker, serving the files in the folder, and whatever else `in_server` says."""
    port = _free_port()
    conf = folder / "nginx.conf"
    conf.write_text(_configuration(folder, module, port, in_http, in_server))
    with _process(["nginx", "-p", folder, "-c", conf, "-e", "stderr"]) as process:
        end = time.monotonic() + START
        while not _is_up(process.pid, port):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit("nginx does not start")
            time.sleep(0.05)
        yield Server([process.pid, *children(process.pid)], port)
