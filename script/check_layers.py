"""Who may include whom: cli, bindings -> include -> api -> http, client, sync -> backend, codec -> model -> base."""

import re

import tree

# layer of csrc: what it may include beside itself. Files right below csrc are the layer api.
MAY = {
    "base": set(),
    "model": {"base"},
    "codec": {"model", "base"},
    "backend": {"codec", "model", "base"},
    "sync": {"backend", "codec", "model", "base"},
    "http": {"codec", "model", "base"},  # stands on csync.h, as any program could
    "client": {"codec", "model", "base"},  # so does this
    "api": {"http", "sync", "backend", "codec", "model", "base"},
    "cli": set(),
}
# header of another library: where it may be included
FOREIGN = {
    r"sqlite3ext\.h": r"csrc/backend/sqlite/|bindings/python/src/sqlite_ext\.c",
    r"sqlite3\.h": r"tests/|bench/",  # calls through it would need a linked SQLite
    r"libpq-fe\.h|postgres.*\.h": r"csrc/backend/postgres/|tests/|bench/",
    r"cJSON\.h|cjson/.*": r"csrc/codec/|csrc/http/|tests/|bench/",
    r"openssl/.*": r"csrc/codec/sha256\.c|csrc/http/|bindings/lua/src/api\.c|tests/|bench/",
    r"zlib\.h|zstd.*\.h": r"csrc/codec/|tests/|bench/",
    r"curl/.*": r"csrc/client/|tests/|bench/",
    r"microhttpd\.h": r"csrc/http/|tests/|bench/",
    r"Python\.h": r"bindings/python/src/",
    r"l(ua|auxlib|ualib)\.h": r"bindings/lua/",
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def layer(name):
    parts = name.split("/")
    return parts[1] if len(parts) > 2 else "api"


def resolve(path, target):
    """The file of ours that an #include means, or None."""
    for folder in (path.parent, tree.ROOT / "csrc", tree.ROOT / "include"):
        if (folder / target).is_file():
            return (folder / target).resolve()
    return None


def foreign(name, target):
    for header, places in FOREIGN.items():
        if re.fullmatch(header, target) and not re.match(places, name):
            return f"may be included only in {places.replace('|', ', ').replace(chr(92), '')}"
    return None


def ours(name, target):
    """Why the file `name` may not include our file `target`, or None."""
    if name.startswith("bindings/"):
        same = target.startswith("/".join(name.split("/")[:2]) + "/")
        return None if same or target == "include/csync.h" else "a binding sees include/csync.h and nothing else"
    if not name.startswith("csrc/") or target.startswith("include/"):
        return None
    mine, theirs = layer(name), layer(target)
    if theirs == mine:
        if mine == "backend" and target.count("/") > 2 and target.split("/")[2] != name.split("/")[2]:
            return None if name.count("/") == 2 else "one backend does not know another"
        return None
    if theirs not in MAY.get(mine, set()):
        return f"{mine} must not include {theirs}: arrows point down"
    if mine in ("sync", "http") and theirs == "backend" and target != "csrc/backend/backend.h":
        return f"{mine} knows backend/backend.h only, never a database"
    return None


def cycles(graph):
    """Yields each include cycle once, as a list of files."""
    done, stack = set(), []

    def visit(node):
        if node in stack:
            yield stack[stack.index(node):] + [node]
        elif node not in done:
            stack.append(node)
            for following in graph.get(node, ()):
                yield from visit(following)
            stack.pop()
            done.add(node)

    for node in sorted(graph):
        yield from visit(node)


def main():
    findings, graph = [], {}
    for path in tree.files(".c", ".h", under=("include/", "csrc/", "bindings/", "tests/c/", "bench/")):
        name, text = tree.name(path), path.read_text()
        for match in INCLUDE.finditer(text):
            target = resolve(path, match[2])
            if target is None:
                why = foreign(name, match[2])
            else:
                why = ours(name, tree.name(target))
                graph.setdefault(name, []).append(tree.name(target))
            if why:
                findings.append(f"{name}:{tree.line_of(text, match.start())}: {match[2]}: {why}")
    findings += [f"{cycle[0]}:1: include cycle: {' -> '.join(cycle)}" for cycle in cycles(graph)]
    return findings


if __name__ == "__main__":
    tree.report(main())
