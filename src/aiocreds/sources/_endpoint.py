"""What the endpoints of credentials in JSON have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocreds._base.json_credentials import parse_object
from aiocreds.errors import SourceUnavailable

if TYPE_CHECKING:
    from aiocreds._http import Response


def unreadable(response: Response) -> bool:
    """Return whether a good answer is no JSON object: metadata services are restarted under their clients."""
    if response.status != 200:
        return False
    try:
        parse_object(response.body, origin="", remedy="")
    except SourceUnavailable:
        return True
    return False
