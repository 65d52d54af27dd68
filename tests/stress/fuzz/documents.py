"""Credentials in JSON: what metadata services, container agents and programs hand out."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from aiocreds._base.json_credentials import METADATA, PROCESS, parse_credentials
from aiocreds._base.redaction import SecretBytes
from aiocreds._http import Response
from aiocreds.errors import ServiceRefused, SourceUnavailable
from aiocreds.sources._endpoint import unreadable
from tests.stress.fuzz.answers import JSON_GROWING, JSON_WORDS, NOW, TIMES, VALUES, documents, encoded
from tests.stress.fuzz.target import Target, assert_tidy

if TYPE_CHECKING:
    from aiocreds.credentials import Credentials


def feed(data: bytes) -> None:
    """Whole credentials, or an error that quotes nothing of the document."""
    for names in (METADATA, PROCESS):
        try:
            credentials = parse_credentials(
                SecretBytes(data),
                provider="fuzz",
                origin="it",
                remedy="look",
                now=NOW,
                names=names,
                accept_expired=names is PROCESS,
            )
        except (SourceUnavailable, ServiceRefused) as error:
            assert_tidy(error)
        else:
            check(credentials)
            assert not unreadable(Response(200, {}, SecretBytes(data), "example.com"))
            if names is METADATA and credentials.expiration is not None:
                assert credentials.expiration.timestamp() > NOW


def check(credentials: Credentials) -> None:
    """Return the fields that all credentials have."""
    for value in (credentials.access_key_id, credentials.secret_access_key, credentials.session_token):
        assert value is None or value == value.strip() != "", credentials
    assert credentials.expiration is None or credentials.expiration.tzinfo is UTC
    assert repr(credentials)


ISSUED = documents(
    Code="Success",
    AccessKeyId="ASIAFUZZ00000001",
    SecretAccessKey="x" * 40,
    Token="y" * 40,
    SessionToken="y" * 40,
    Expiration=st.sampled_from(TIMES) | VALUES,
    AccountId="123456789012",
    Version=st.just(1) | VALUES,
)

TARGET = Target(
    feed=feed,
    inputs=encoded(ISSUED | VALUES),
    seeds=[b"", b"<html>", b"[]", b'{"Code": "AssumeRoleUnauthorizedAccess"}'],
    words=[
        *JSON_WORDS,
        *(
            b'"Code": "Failed",',
            b'"AccessKeyId": ',
            b'"SecretAccessKey": ',
            b'"Token": ',
            b'"Expiration": ',
            b'"AccountId": ',
        ),
    ],
    growing=JSON_GROWING,
)
