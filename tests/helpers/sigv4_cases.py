"""The signing cases that AWS publishes with its C library, if they lie beside the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parents[3] / "shared" / "data" / "sigv4-cases.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else []


class Request(NamedTuple):
    """An HTTP request."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes


def parsed(text: str) -> Request:
    """Parse a request as the cases write it: the target may hold spaces, a header may go on in the next line."""
    head, _, body = text.partition("\n\n")
    first, *lines = head.rstrip("\n").split("\n")
    method, target = first.removesuffix(" HTTP/1.1").split(" ", 1)
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith(" "):
            name, value = headers.pop()
            headers.append((name, f"{value}\n{line}"))
        else:
            name, _, value = line.partition(":")
            headers.append((name, value))
    host = next(value for name, value in headers if name == "Host")
    return Request(method, f"https://{host}{target}", headers, body.encode())
