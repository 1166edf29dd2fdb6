"""The Python package's types: mypy on the package, stubtest against the running module, and no public name
without a line in __init__.pyi. Run with the Python that csync is installed in."""

import ast
import inspect
import os
import subprocess
import sys

import tree

PACKAGE = tree.ROOT / "bindings" / "python" / "csync"


def declared(body):
    """The names that a stub, or a class in it, declares, with the bodies of its classes."""
    names, classes = set(), {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            classes[node.name] = node.body
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.If):
            names |= declared(node.body + node.orelse)[0]
    return names, classes


def missing():
    import csync

    stub = PACKAGE / "__init__.pyi"
    names, classes = declared(ast.parse(stub.read_text()).body)
    where = f"{tree.name(stub)}:1"
    for name in getattr(csync, "__all__", [n for n in dir(csync) if not n.startswith("_")]):
        value = getattr(csync, name)
        if name not in names and not inspect.ismodule(value):
            yield f"{where}: csync.{name} is not in the stub: add it"
        if inspect.isclass(value) and name in classes:
            for member in set(vars(value)) - declared(classes[name])[0]:
                if not member.startswith("_"):
                    yield f"{where}: csync.{name}.{member} is not in the stub: add it"


def run(module, *arguments):
    command = [sys.executable, "-P", "-m", module, *arguments]
    environment = {**os.environ, "MYPYPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, check=False,
                          env=environment)
    if done.returncode:
        yield from (done.stdout + done.stderr).strip().splitlines()


def main():
    if not (PACKAGE / "__init__.pyi").exists():
        return ["bindings/python/csync/__init__.pyi:1: is not there: write the stub"]
    return [
        *missing(),
        *run("mypy", str(PACKAGE)),
        *run("mypy.stubtest", "--mypy-config-file", "pyproject.toml", "--concise", "csync"),
    ]


if __name__ == "__main__":
    tree.report(main())
