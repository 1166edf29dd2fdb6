"""The Lua module: csync.meta.lua declares what the module has, under both interpreters, and the names of the Python package
or api_skip.txt says why not. Every Lua file is read by both interpreters."""

import ast
import re
import subprocess

import check_api
import tree

META = tree.ROOT / "bindings" / "lua" / "csync.meta.lua"
STUBS = [tree.ROOT / "bindings" / "python" / "csync" / name for name in ("__init__.pyi", "_csync.pyi")]
INTERPRETERS = {"5.4": ["luac5.4", "-p"], "jit": ["luajit", "-bl"]}
# what only Lua has, or only Python; a class of Python: its members that Lua says otherwise
OTHERWISE = {
    "Replica": {"wsgi"},
    "Session": set(),
    "Subscription": set(),
    "Batch": {"from_json"},  # csync.Batch.from_json
    "Outcomes": {"from_json"},
    "Position": {"from_json"},
}
LIST_NAMES = r"""
local csync, core = require("csync"), require("csync.core")
for name in pairs(csync) do print("csync." .. name) end
for _, class in ipairs({ "Replica", "Batch", "Outcomes", "Subscription" }) do
    for name in pairs(core[class]) do
        if name:sub(1, 1) ~= "_" then print(class .. "." .. name) end
    end
end
"""


def declared():
    """{"csync": {names}, "Replica": {methods and fields}, ...} of csync.meta.lua, and the methods alone."""
    fields, methods, name = {}, {}, None
    for line in META.read_text().splitlines():
        if found := re.match(r"---@class (?:csync\.)?(\w+)", line):
            name = found[1]
        elif found := re.match(r"---@field (\w+)", line):
            fields.setdefault(name, set()).add(found[1])
        elif found := re.match(r"function (\w+)[.:](\w+)", line):
            methods.setdefault(found[1], set()).add(found[2])
    return fields, methods


def members_of(node):
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            yield item.name
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id


def python_names():
    """The public names of the package, and those of each class."""
    names, members = set(), {}
    for stub in STUBS:
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ClassDef):
                members.setdefault(node.name, set()).update(members_of(node))
            if stub is STUBS[0] and isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif stub is STUBS[0] and isinstance(node, ast.ImportFrom):
                names |= {alias.asname for alias in node.names if alias.asname}
    return {name for name in names if not name.startswith("_")}, members


def running(lua, program):
    command = [str(tree.ROOT / "script" / "lua"), lua, "-e", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def check_running(fields, methods):
    stated = {f"csync.{name}" for name in fields["csync"] | methods["csync"]}
    for class_ in ("Replica", "Batch", "Outcomes", "Subscription"):
        stated |= {f"{class_}.{name}" for name in methods[class_]}
    for lua in INTERPRETERS:
        found = set(running(lua, LIST_NAMES))
        for name in sorted(found ^ stated):
            what = "is not in it: declare it" if name in found else "is not in the module: delete it"
            yield f"{tree.name(META)}:1: {name} {what} (Lua {lua})"


def check_python(fields, methods):
    findings = []
    skipped = check_api.skipped(findings)["names"]
    names, members = python_names()
    ours = {name.lower() for name in fields["csync"] | methods["csync"]}
    for name in sorted(names):
        if name.lower() not in ours and name not in skipped:
            findings.append(f"{tree.name(META)}:1: Python has csync.{name}: add it, or skip it with a reason")
    for name, line in skipped.items():
        if name not in names or name.lower() in ours - {"api"}:
            findings.append(f"script/api_skip.txt:{line}: {name} is there or gone: delete the line")
    for class_, otherwise in OTHERWISE.items():
        there = fields.get(class_, set()) | methods.get(class_, set())
        for name in sorted(members[class_] - there - otherwise):
            if not name.startswith("_"):
                findings.append(f"{tree.name(META)}:1: Python has {class_}.{name}: add it, or say it otherwise")
    return findings


def check_syntax():
    for path in tree.files(".lua", ".rockspec", under=("bindings/", "tests/", "examples/", "csync-")):
        for lua, command in INTERPRETERS.items():
            done = subprocess.run([*command, str(path)], capture_output=True, check=False)
            if done.returncode:
                yield f"{tree.name(path)}:1: {done.stderr.decode(errors='replace').strip()} (Lua {lua})"


def main():
    fields, methods = declared()
    return [*check_syntax(), *check_running(fields, methods), *check_python(fields, methods)]


if __name__ == "__main__":
    tree.report(main())
