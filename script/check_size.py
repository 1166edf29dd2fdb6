"""Files of at most 800 lines; functions of at most 80, with a median of at most 15 in csrc and in bindings."""

import ast
import re
import statistics

import tree

MAX_FILE = 800
MAX_FUNCTION = 80
MAX_MEDIAN = 15

KEYWORDS = {"if", "for", "while", "switch", "return", "sizeof", "do", "else"}


def c_functions(text):
    """Yields (name, first line, lines) of each function defined in C text, signature to closing brace."""
    plain = re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", lambda m: re.sub(r"[^\n]", " ", m[0]), tree.code(text),
                   flags=re.MULTILINE)
    plain = re.sub(r'extern\s+"[^"]*"\s*\{', lambda m: " " * len(m[0]), plain)
    depth, start = 0, 0  # start: where the present top-level declaration begins
    opened = None
    for match in re.finditer(r"[{};]", plain):
        at = match.start()
        if match[0] == "{":
            if depth == 0:
                head = plain[start:at]
                called = re.search(r"(\w+)\s*\(", head)
                is_function = head.rstrip().endswith(")") and called and called[1] not in KEYWORDS
                opened = (called[1], start + len(head) - len(head.lstrip())) if is_function else None
            depth += 1
        elif match[0] == "}":
            depth = max(0, depth - 1)
            if depth == 0:
                if opened:
                    first = tree.line_of(plain, opened[1])
                    yield opened[0], first, tree.line_of(plain, at) - first + 1
                opened, start = None, at + 1
        elif depth == 0:
            start = at + 1


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def medians(lengths):
    for folder, values in lengths.items():
        median = statistics.median(values)
        if median > MAX_MEDIAN:
            yield f"{folder}:1: functions have a median of {median} lines, more than {MAX_MEDIAN}: split"


def main():
    findings = []
    lengths = {}
    for path in tree.files(".c", ".h", ".py", ".lua", ".sh", ".cmake", ".txt"):
        name = tree.name(path)
        if name.startswith(("tests/data/", "docs/")):
            continue
        text = path.read_text()
        lines = text.count("\n")
        if lines > MAX_FILE:
            findings.append(f"{name}:{MAX_FILE}: {lines} lines, more than {MAX_FILE}: split the file")
        functions = c_functions if path.suffix in (".c", ".h") else python_functions
        for function, line, length in functions(text) if path.suffix in (".c", ".h", ".py") else ():
            if name.startswith(("csrc/", "bindings/")) and path.suffix == ".c":
                lengths.setdefault(name.split("/")[0], []).append(length)
            if length > MAX_FUNCTION:
                findings.append(f"{name}:{line}: {function} has {length} lines, more than {MAX_FUNCTION}")
    return findings + list(medians(lengths))


if __name__ == "__main__":
    tree.report(main())
