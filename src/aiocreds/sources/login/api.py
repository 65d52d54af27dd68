"""Call AWS Sign-In, which issues and renews the short-lived credentials of ``aws login``.

See https://docs.aws.amazon.com/signin/latest/APIReference/API_CreateOAuth2Token.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiocreds._aws.json_protocol import ask
from aiocreds._aws.service_errors import CHECK_ENDPOINT, ErrorCode
from aiocreds._base.json_credentials import Names, object_of, text_of
from aiocreds.errors import SourceUnavailable
from aiocreds.sources.login.dpop import dpop_proof

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from aiocreds._aws.client import ServiceClient
    from aiocreds._core.refresh import Clock
    from aiocreds._http import Response
    from aiocreds._http.request import Signer

KEYS = Names("accessKeyId", "secretAccessKey", "sessionToken")
LONGEST_LIFE = 24 * 3600  # seconds; the real ones live for 15 minutes
# Every refusal is an AccessDeniedException or a ValidationException, and has its reason in another field.
ERRORS = {
    "TOKEN_EXPIRED": ErrorCode("the session has ended", sign_in_ended=True),
    "USER_CREDENTIALS_CHANGED": ErrorCode(
        "the password or another credential of the person has changed", sign_in_ended=True
    ),
    "AUTHCODE_EXPIRED": ErrorCode("the sign-in was not finished in time", sign_in_ended=True),
    "INSUFFICIENT_PERMISSIONS": ErrorCode(
        "the identity that signed in needs the permission for signin:CreateOAuth2Token", recoverable=False
    ),
    "INVALID_REQUEST": ErrorCode(
        "check this machine's clock; if it is right, sign in again with aws login", clock=True
    ),
    "AccessDeniedException": ErrorCode("sign in again with aws login"),
    "ValidationException": ErrorCode(clock=True),  # it may be about a proof from another time
}
SIGN_IN_ENDED = {code for code, meaning in ERRORS.items() if meaning.sign_in_ended}


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """The answer of CreateOAuth2Token, without a ``repr``.

    Attributes:
        keys: an object with ``accessKeyId``, ``secretAccessKey`` and ``sessionToken``.
        lifetime: of the keys, in seconds.
        refresh_token: for the next time; None where the old one stays good.
        id_token: tells who has signed in; None after a renewal.
    """

    keys: dict[str, Any]
    lifetime: float
    refresh_token: str | None
    id_token: str | None


async def create_token(
    signin: ServiceClient, *, client_id: str, grant: Mapping[str, str], key: EllipticCurvePrivateKey, target: str
) -> Issued:
    """Call CreateOAuth2Token with a proof of possession of the key that what it issues is bound to.

    Args:
        signin: the service.
        client_id: of the way in which the person signs in.
        grant: ``grantType`` and the fields that go with it, such as ``refreshToken``.
        key: of the sign-in.
        target: what for, for messages.

    Raises:
        ServiceRefused: it answered no; the codes in `SIGN_IN_ENDED` mean that a person has to sign in again.
        SourceUnavailable: it did not answer, or not with keys.
        InvalidConfiguration: the endpoint's settings cannot be used.
    """
    nonce = ""

    def proof(clock: Clock) -> Signer:
        def prove(method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> Mapping[str, str]:
            return {"DPoP": dpop_proof(key, method, url, clock, nonce=nonce)}

        return prove

    def wants_nonce(response: Response) -> bool:
        nonlocal nonce
        wanted = response.headers.get("DPoP-Nonce", "")
        if response.status not in (400, 401) or not wanted or wanted == nonce:
            return False
        nonce = wanted
        return True

    answer, _ = await ask(
        signin,
        "POST",
        "/v1/token",
        operation="CreateOAuth2Token",
        name="AWS Sign-In",
        target=target,
        headers={"Content-Type": "application/json"},
        body={"clientId": client_id, **grant},
        errors=ERRORS,
        hidden=[value for name, value in grant.items() if name not in ("grantType", "redirectUri")],
        proof=proof,
        again=wants_nonce,
    )
    lifetime, keys = answer.get("expiresIn"), object_of(answer.get("accessToken"))
    if (
        not all(text_of(keys.get(name)) for name in KEYS)
        or isinstance(lifetime, bool)
        or not isinstance(lifetime, int | float)
        or not 0 < lifetime < LONGEST_LIFE
    ):
        raise SourceUnavailable(f"AWS Sign-In answered without usable keys and expiresIn; {CHECK_ENDPOINT}")
    return Issued(keys, lifetime, text_of(answer.get("refreshToken")), text_of(answer.get("idToken")))
