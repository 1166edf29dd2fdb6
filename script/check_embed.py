"""check_embed.py [--write]: the documents that the server answers with are embedded in C, as they are in the tree.

docs/openapi.yaml, as JSON, is csrc/http/openapi.c; csrc/http/page.html, with the policy that lets its own script and style
run, is csrc/http/page.c. They are committed, so that a build needs neither Python nor YAML. --write makes them.
"""

import base64
import hashlib
import json
import re
import sys

import yaml

import tree

WIDTH = 90


def literal(text):
    """A C string literal of many lines. Escapes are octal, with three digits, so that no digit behind them is one of theirs."""
    escaped = [
        {ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n"}.get(b) or (chr(b) if 32 <= b < 127 and b != 63 else f"\\{b:03o}")
        for b in text.encode()
    ]
    lines, line = [], ""
    for piece in escaped:
        if len(line) + len(piece) > WIDTH:
            lines.append(line)
            line = ""
        line += piece
    return "\n".join(f'    "{line}"' for line in [*lines, line])


def openapi():
    document = yaml.safe_load((tree.ROOT / "docs" / "openapi.yaml").read_text())
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return made("openapi.c", "docs/openapi.yaml as JSON", cs_openapi_json=text)


def policy(page):
    def hashes(tag):
        for content in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL):
            yield f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(hashes('script'))}",
            f"style-src {' '.join(hashes('style'))}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def page():
    text = (tree.ROOT / "csrc" / "http" / "page.html").read_text()
    return made("page.c", "csrc/http/page.html, and its Content-Security-Policy", cs_page_html=text, cs_page_policy=policy(text))


def made(name, what, **texts):
    head = f"/* {name} - {what}. Made by script/check_embed.py --write; not to be edited. */\n"
    body = "".join(f"\nconst char {symbol}[] =\n{literal(text)};\n" for symbol, text in texts.items())
    return tree.ROOT / "csrc" / "http" / name, f'{head}#include "http/exchange.h"\n\n/* clang-format off */{body}/* clang-format on */\n'


def main():
    for path, text in (openapi(), page()):
        if "--write" in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            yield f"{tree.name(path)}:1: not what it is made of: script/check_embed.py --write"


if __name__ == "__main__":
    tree.report(list(main()))
