"""Answers of the services that speak JSON or plain text, good and bad."""

# The readers themselves are fuzzed, not only what calls them.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st

from aiocreds._base import threads
from aiocreds._base.redaction import SecretStr
from aiocreds._profiles import Setting
from aiocreds._profiles.sso import LoginCommand, SsoSettings
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsError
from aiocreds.integrations.sigv4 import says_expired
from aiocreds.sources import container as agent
from aiocreds.sources.cognito import api
from aiocreds.sources.imds import MetadataService
from aiocreds.sources.login import api as signin
from aiocreds.sources.roles_anywhere import credentials as roles_anywhere
from aiocreds.sources.roles_anywhere.identity import Identity
from aiocreds.sources.sso import api as sso
from tests.stress.fuzz.answers import (
    CONTEXT,
    HTTP,
    JSON_GROWING,
    JSON_WORDS,
    REGION,
    TIMES,
    VALUES,
    answer,
    documents,
    encoded,
    written,
)
from tests.stress.fuzz.answers import service as client
from tests.stress.fuzz.documents import ISSUED, check
from tests.stress.fuzz.identities import CERTIFICATE
from tests.stress.fuzz.identities import KEY as WORKLOAD
from tests.stress.fuzz.target import Target, assert_tidy, at_once, finish, within

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

SETTINGS = SsoSettings(
    "https://x", REGION, "123456789012", "Reader", "corp", LoginCommand("aws sso login", "", {}), "code"
)
KEY = ec.derive_private_key(1, ec.SECP256R1())
IDENTITY = Identity(CERTIFICATE, (), WORKLOAD, "AWS4-X509-ECDSA-SHA256", "it", {})
URL = "http://127.0.0.1:1338"
METADATA = MetadataService(URL, 1.0, 0, True, CONTEXT)


def _sso() -> Coroutine[Any, Any, Any]:
    return sso.get_role_credentials(client("sso"), SETTINGS, access_token=SecretStr("t"))


def _oidc() -> Coroutine[Any, Any, Any]:
    grant = {"grantType": "refresh_token", "refreshToken": SecretStr("r")}
    return sso.create_token(
        client("sso-oidc"), client_id="c", client_secret=SecretStr("s"), grant=grant, target="to renew"
    )


def _signin() -> Coroutine[Any, Any, Any]:
    grant = {"grantType": "refresh_token", "refreshToken": SecretStr("r")}
    return signin.create_token(client("signin"), client_id="c", grant=grant, key=KEY, target="to renew")


def _id() -> Coroutine[Any, Any, Any]:
    pool = f"{REGION}:1"
    return api.get_id(client("cognito-identity"), identity_pool_id=pool, account_id=None, logins={})


def _cognito() -> Coroutine[Any, Any, Any]:
    service = client("cognito-identity")
    return api.get_credentials(service, identity_id="i", logins={"l": "t"}, custom_role_arn=None)


def _agent() -> Coroutine[Any, Any, Any]:
    url = Setting(URL, "full_uri")
    return agent._ask(url, None, caller="from_http", timeout=1.0, max_retries=0, context=CONTEXT)


async def _roles_anywhere() -> Credentials:
    request = {"roleArn": "arn:aws:iam::123456789012:role/app"}
    with mock.patch.object(threads, "submit", at_once):
        return await roles_anywhere.create_session(client("rolesanywhere"), IDENTITY, request, None)


CALLS: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "sso": _sso,
    "sso-oidc": _oidc,
    "signin": _signin,
    "cognito-id": _id,
    "cognito": _cognito,
    "rolesanywhere": _roles_anywhere,
    "agent": _agent,
    "imds-token": METADATA.token,
    "imds-role": lambda: METADATA.role("token"),
}


def feed(data: bytes) -> None:
    """Check that an answer of the service is as it should be, or an error."""
    name, HTTP.response = answer(data)
    says_expired(HTTP.response.status, HTTP.response.headers, HTTP.response.body)
    try:
        result = finish(CALLS.get(name, _sso)())
    except CredentialsError as error:
        assert_tidy(error)
        return
    if isinstance(result, Credentials):
        check(result)
    elif isinstance(result, sso.Renewed | signin.Issued):
        assert 0 < result.lifetime < sso.LONGEST_LIFE
    else:
        assert result is None or (isinstance(result, str) and result.strip()), result
        assert name == "cognito-id" or result is None or result.isprintable(), result


_end = st.sampled_from((*TIMES, 1_900_000_000, 1_900_000_000_000, 1e400, -1e400, 10**400)) | VALUES
_lower = documents(accessKeyId="a", secretAccessKey="s", sessionToken="t", expiration=_end)
_upper = documents(AccessKeyId="a", SecretKey="s", SessionToken="t", Expiration=_end)
_user = documents(arn="arn:aws:sts::123456789012:assumed-role/app/1", assumedRoleId="AROA:1")
_sets = st.lists(documents(assumedRoleUser=_user, credentials=_lower) | VALUES, max_size=2) | VALUES
_code = st.sampled_from(
    (
        *("UnauthorizedException", "a.b#InvalidGrantException:http://x/", "ThrottlingException", "invalid_grant"),
        *("TOKEN_EXPIRED", "#", ":", "", "ExpiredToken"),
    )
)
_refusals = documents(__type=_code, code=_code, Code=_code, error=_code, message="No\n\0.", error_description="No")
_bodies = st.one_of(
    encoded(documents(roleCredentials=_lower)),
    encoded(documents(accessToken="t", expiresIn=st.just(900) | VALUES, refreshToken="r", tokenType="bearer")),
    encoded(documents(accessToken=_lower, expiresIn=st.just(900) | VALUES, refreshToken="r")),
    encoded(documents(credentialSet=_sets)),
    encoded(documents(IdentityId="i")),
    encoded(documents(IdentityId="i", Credentials=_upper)),
    encoded(ISSUED),
    encoded(_refusals),
    st.sampled_from((b"token==", b"app-role\n", b" \n", b"\xa0", b"a\rb", b"", b"\x85role")),
)
_headers = st.fixed_dictionaries(
    {}, optional={"x-amzn-ErrorType": _code, "Date": st.just("x"), "x-amzn-RequestId": st.just("r")}
)

TARGET = Target(
    feed=feed,
    inputs=st.builds(
        written,
        st.sampled_from(list(CALLS)),
        st.sampled_from((200, 200, 200, 400, 401, 403, 404, 429, 500)),
        _bodies,
        _headers,
    ),
    seeds=[written(name, status, b"{}") for name in CALLS for status in (200, 301, 400, 403, 503)],
    words=[
        *JSON_WORDS,
        *(name.encode() for name in CALLS),
        *(
            b"\n\n",
            b" 200\n",
            b" 400\n",
            b"x-amzn-ErrorType: ",
            b"Retry-After: ",
            b"Date: ",
            b'"__type": "',
            b'"error": "',
        ),
        *(
            b'"roleCredentials": ',
            b'"accessToken": ',
            b'"expiresIn": ',
            b'"Credentials": ',
            b'"credentialSet": [',
            b'"credentials": ',
            b'"assumedRoleUser": ',
            b'"IdentityId": ',
            b'"message": "',
        ),
    ],
    growing={
        **within("an answer", JSON_GROWING, lambda body: written("sso", 200, body)),
        **within("a refusal", JSON_GROWING, lambda body: written("cognito", 400, body)),
        "lines of a role": lambda n: written("imds-role", 200, b"\n" * n + b"a\n" * n),
        "a role": lambda n: written("imds-role", 200, b"a" * n + b"!"),
        "a token": lambda n: written("imds-token", 200, b" " * n + b"t" * n),
        "digits to wait": lambda n: written("sso", 503, b"", {"Retry-After": "9" * n}),
        "a date": lambda n: written("sso", 503, b"", {"Retry-After": "Mon, " * n, "Date": "1 " * n}),
    },
)
