"""check_api.py LIBRARY EXTENSION LUA_MODULE...: the public functions of include/*.h.

Each is commented, exported by LIBRARY (and nothing else is), called in tests/c or by a binding, and used by each
binding or named, with a reason, in api_skip.txt. EXTENSION and the Lua modules export their entry points only.
"""

import re
import subprocess
import sys

import tree

HEADERS = sorted((tree.ROOT / "include").glob("*.h"))
SKIP = tree.ROOT / "script" / "api_skip.txt"
DECLARATION = re.compile(r"^CSYNC_API\b[^;]*?\b(csync_\w+)\s*\(", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
ENTRIES = {"sqlite3_csync_init"}
BINDINGS = {"python": "bindings/python/src/", "lua": "bindings/lua/src/"}


def declarations(text):
    """Yields (name, offset, end) of each public function."""
    for match in DECLARATION.finditer(tree.code(text)):
        yield match[1], match.start(), text.index(";", match.end()) + 1


def commented(text, start, end):
    """Whether a comment stands in the function's paragraph: above it, or at the end of its line."""
    paragraph = text.rfind("\n\n", 0, start)
    line_end = text.find("\n", end)
    return bool(COMMENT.search(text, paragraph, line_end))


def exported(path):
    command = ["nm", "-D", "--defined-only", "--format=posix", str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split()[0].split("@")[0] for line in output.splitlines()}


def called(*folders):
    """Every csync_ function named outside comments and literals in the C files of these folders."""
    found = set()
    for path in tree.files(".c", ".h", under=folders):
        found |= set(re.findall(r"\bcsync_\w+\b", tree.code(path.read_text())))
    return found


def skipped(findings):
    """{binding: {function: line number}}, also {"names": ...}, which check_lua.py reads."""
    reasons = {"names": {}, **{binding: {} for binding in BINDINGS}}
    for number, line in enumerate(SKIP.read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            binding, _, rest = line.partition(" ")
            name, _, reason = rest.partition(" ")
            if binding not in reasons or not reason.strip():
                findings.append(f"script/api_skip.txt:{number}: {line}: say a binding, a name, and why")
            else:
                reasons[binding][name] = number
    return reasons


def check_exports(library, extension, modules, public):
    names = exported(library)
    for name in sorted(set(public) - names):
        yield f"{public[name]}: {name} is not exported by {library}: define it"
    for name in sorted(names - set(public) - ENTRIES):
        yield f"csrc/csync.map:1: {library} exports {name}, which is in no public header: declare or hide it"
    for name in sorted(exported(extension) - ENTRIES - {"PyInit__csync"}):
        yield f"bindings/python/csync.map:1: {extension} exports {name}: hide it"
    for module in modules:
        for name in sorted(exported(module) - {"luaopen_csync_core"}):
            yield f"bindings/lua/csync.map:1: {module} exports {name}: hide it"


def check_binding(binding, used, reasons, public):
    folder = BINDINGS[binding]
    for name, where in public.items():
        if name not in used | set(reasons):
            yield f"{where}: {name} is not used by {folder}: bind it, or skip it with a reason"
    for name in sorted(set(reasons) & (used | (set(reasons) - set(public)))):
        yield f"script/api_skip.txt:{reasons[name]}: {name} is bound or gone: delete the line"


def main(library, extension, *modules):
    findings, public = [], {}
    for header in HEADERS:
        text = header.read_text()
        for name, start, end in declarations(text):
            public[name] = f"{tree.name(header)}:{tree.line_of(text, start)}"
            if not commented(text, start, end):
                findings.append(f"{public[name]}: {name} has no comment: write its contract")
    findings += check_exports(library, extension, modules, public)
    used = {binding: called(folder) for binding, folder in BINDINGS.items()}
    reasons = skipped(findings)
    for name in sorted(set(public) - called("tests/c/").union(*used.values())):
        findings.append(f"{public[name]}: {name} is not called by tests/c nor by a binding: write a test")
    for binding in BINDINGS:
        findings += check_binding(binding, used[binding], reasons[binding], public)
    return findings


if __name__ == "__main__":
    tree.report(main(*sys.argv[1:]))
