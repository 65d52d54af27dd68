"""The no of a service that speaks JSON, and what it was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.helpers.loopback_aws import Seen


class Refused(Exception):
    """A no: status, error code, and further fields of the body."""

    def __init__(self, status: int, code: str, **fields: str) -> None:
        super().__init__(code)
        self.status, self.code, self.fields = status, code, fields


def object_in(seen: Seen) -> dict[str, Any]:
    """The JSON object in a request."""
    document: dict[str, Any] = json.loads(seen.body)
    return document
