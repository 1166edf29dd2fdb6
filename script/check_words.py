"""Functions that csync does not call, marks of unfinished work, and paths of the machine it was written on."""

import re
from pathlib import Path

import tree

# function: what to use in its place
BANNED = {
    "strcpy": "cs_strdup or cs_buf",
    "strncpy": "cs_strndup or memcpy",
    "strcat": "cs_buf_puts",
    "strncat": "cs_buf_put",
    "stpcpy": "cs_buf_puts",
    "sprintf": "snprintf or cs_buf_printf",
    "vsprintf": "vsnprintf or cs_buf_printf",
    "gets": "fgets",
    "atoi": "strtoll with its checks",
    "atol": "strtoll with its checks",
    "atoll": "strtoll with its checks",
    "atof": "strtod with its checks",
    "sscanf": "strtoll with its checks",
    "strtok": "memchr",
    "strerror": "strerror_r",
    "gmtime": "cs_time_format",
    "localtime": "cs_time_format",
    "ctime": "cs_time_format",
    "asctime": "cs_time_format",
    "rand": "cs_uuid4 or getrandom",
    "random": "cs_uuid4 or getrandom",
    "alloca": "cs_malloc",
    "setenv": "an option",
    "system": "nothing: no shell",
    "popen": "nothing: no shell",
    "abort": "an error code",
    "exit": "an error code",
}
# memory: only base/mem.c may, so that the allocator hook and fail-nth tests see every allocation
MEMORY = {
    "malloc": "cs_malloc",
    "calloc": "cs_calloc",
    "realloc": "cs_realloc",
    "free": "cs_free",
    "strdup": "cs_strdup",
    "strndup": "cs_strndup",
    "asprintf": "cs_buf_printf",
    "vasprintf": "cs_buf_printf",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join({**BANNED, **MEMORY}) + r")\s*\(")
MARK = re.compile(r"\b(TODO|FIXME|XXX)\b")  # marks: allowed here
# a repository right below one of these says nothing about the machine
COMMON = {"/", "/tmp", "/var/tmp", "/root", "/home", "/usr", "/usr/src", "/opt", "/srv"}


BINDING_MEMORY = dict.fromkeys(MEMORY, "csync_malloc, csync_free, or PyMem_Malloc under the GIL")


def calls(path, text):
    plain, name = tree.code(text), tree.name(path)
    if name == "csrc/base/mem.c":
        instead = BANNED
    else:
        instead = {**BANNED, **(BINDING_MEMORY if name.startswith("bindings/") else MEMORY)}
    for match in CALL.finditer(plain):
        if match[1] in instead:
            line = tree.line_of(plain, match.start())
            yield f"{name}:{line}: {match[1]}() is not used here: {instead[match[1]]}"


def machine_paths():
    """Patterns of paths that only this machine, or only one person's, has."""
    places = {str(tree.ROOT)} | {str(tree.ROOT.parent), str(Path.home())} - COMMON
    return re.compile("|".join([re.escape(p) + r"\b" for p in sorted(places)] + [r"/home/[a-z]\w*/"]))


def lines(path, text, place):
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{tree.name(path)}:{number}"
        if path.suffix in (".c", ".h", ".py", ".pyi", ".lua") and "marks: allowed here" not in line:
            if mark := MARK.search(line):
                yield f"{where}: {mark[1]}: do it now or write it in an issue"
        if found := place.search(line):
            yield f"{where}: {found[0]} is a path of this machine: make it relative"


def main():
    findings = []
    place = machine_paths()
    for path in tree.files(""):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if tree.name(path).startswith(("csrc/", "bindings/")) and path.suffix in (".c", ".h"):
            findings += calls(path, text)
        findings += lines(path, text, place)
    return findings


if __name__ == "__main__":
    tree.report(main())
