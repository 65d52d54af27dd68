"""Read answers in XML, which STS and S3 give."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from aiocreds._base.redaction import SecretDict

if TYPE_CHECKING:
    from aiocreds._base.redaction import SecretBytes


def fields_of(body: SecretBytes) -> SecretDict:
    """Return the texts in an answer by the names of their elements; empty when it is no XML."""
    try:
        # Its size is bounded, and expat stops entity bombs. Both write UTF-8: a document must not choose another
        # codec of Python, some of which raise or warn.
        root = ET.fromstring(body, ET.XMLParser(encoding="utf-8"))  # noqa: S314
    except ET.ParseError:
        return SecretDict()
    return SecretDict({element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root.iter()})
