"""Services that people and pods sign in to, on loopback: IAM Identity Center (portal, OIDC), AWS Sign-In, Cognito.

It checks what the real ones check: bearer tokens and their expiry, client secrets and registrations, the DPoP proof
and whether it was used before, login tokens. Refresh tokens work once; one that is used twice ends all that came
from the same sign-in. How people sign in is in :mod:`tests.helpers.authorization`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.helpers.authorization import Authorization
from tests.helpers.refused import Refused, object_in
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aiocreds import Provider
    from tests.helpers.loopback_aws import Loopback, Seen

PORTAL, OIDC, SIGN_IN = "/federation/credentials", "/token", "/v1/token"
ACCOUNTS, ROLES = "/assignment/accounts", "/assignment/roles"
START_URL = "https://corp.awsapps.com/start"
ACCOUNT, PERMISSION_SET = "123456789012", "Developer"
LOGIN_SESSION = "arn:aws:iam::123456789012:user/me"
_numbers = itertools.count(1)


@dataclass
class Registration:
    """A client of OIDC, and the refresh tokens it may use."""

    secret: str
    expires: datetime
    refresh_tokens: set[str] = field(default_factory=set[str])
    asked: dict[str, Any] = field(default_factory=dict[str, Any])  # with what it has registered


@dataclass
class SignInServer:
    """The state of all of them.

    Attributes:
        now: the time there.
        issue: makes credentials as EC2 metadata shows them.
        token_life: of the access tokens of OIDC.
        roles: the (account, permission set) pairs that the person may use.
        account_names: of the accounts that have one, by their ids.
        most: accounts or roles on one page, however many are asked for.
        access_tokens: those of the portal, and when they end.
        registrations: the clients of OIDC by id.
        keys_life: of what sign-in issues.
        refusal: what sign-in says to every renewal, such as ``"USER_CREDENTIALS_CHANGED"``.
        login_tokens: refresh tokens of sign-in, and the thumbprint of the key that each is bound to.
        proofs: the ids of the DPoP proofs it has seen.
        identities: Cognito's identity ids by their logins.
        logins: the login tokens that Cognito knows, by provider.
        families: the sign-in that each refresh token of OIDC came from, used ones too.
        nonce: what a DPoP proof has to hold; None for nothing.
        authorization: where people sign in.
    """

    now: Callable[[], datetime]
    issue: Callable[[str], dict[str, str]]
    token_life: timedelta = timedelta(hours=1)
    roles: set[tuple[str, str]] = field(default_factory=lambda: {(ACCOUNT, PERMISSION_SET)})
    account_names: dict[str, str] = field(default_factory=lambda: {ACCOUNT: "Sandbox"})
    most: int = 100
    access_tokens: dict[str, datetime] = field(default_factory=dict[str, datetime])
    registrations: dict[str, Registration] = field(default_factory=dict[str, Registration])
    keys_life: timedelta = timedelta(minutes=15)
    refusal: str | None = None
    login_tokens: dict[str, str] = field(default_factory=dict[str, str])
    proofs: set[str] = field(default_factory=set[str])
    identities: dict[tuple[tuple[str, str], ...], str] = field(
        default_factory=dict[tuple[tuple[str, str], ...], str]
    )
    logins: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    families: dict[str, str] = field(default_factory=dict[str, str])
    nonce: str | None = None
    authorization: Authorization = field(init=False)

    def __post_init__(self) -> None:
        self.authorization = Authorization(self)

    # What a person does, with the files that AWS CLI writes.

    def sso_login(
        self, home: Path, session: str | None = "corp", *, registered: timedelta = timedelta(days=90), **fields: Any
    ) -> Path:
        """``aws sso login``: the cache file, with a session's registration or (None) in the older form."""
        access_token, expires = self._access_token()
        token: dict[str, Any] = {
            "startUrl": START_URL,
            "region": "eu-central-1",
            "accessToken": access_token,
            "expiresAt": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
        }
        if session is not None:
            client_id, ends = f"client-{next(_numbers)}", self.now() + registered
            registration = self.registrations[client_id] = Registration(secret("client"), ends, {secret("refresh")})
            token |= {
                "clientId": client_id,
                "clientSecret": registration.secret,
                "registrationExpiresAt": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
                "refreshToken": next(iter(registration.refresh_tokens)),
            }
        name = hashlib.sha1((session or START_URL).encode()).hexdigest()
        return _cached(home / ".aws/sso/cache" / f"{name}.json", token | fields)

    def login(self, home: Path, session: str = LOGIN_SESSION, **fields: Any) -> Path:
        """``aws login``: the cache file."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()
        refresh_token = secret("refresh")
        self.login_tokens[refresh_token] = thumbprint(jwk_of(key.public_key()))
        token = {
            "accessToken": self._keys(),
            "tokenType": "aws_sigv4",
            "clientId": "arn:aws:signin:::devtools/same-device",
            "refreshToken": refresh_token,
            "idToken": secret("id"),
            "dpopKey": pem,
        }
        name = hashlib.sha256(session.encode()).hexdigest()
        return _cached(home / ".aws/login/cache" / f"{name}.json", token | fields)

    # What the services answer.

    def portal(self, seen: Seen, query: str) -> dict[str, Any]:
        """GetRoleCredentials."""
        self._check_bearer(seen)
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if (asked.get("account_id"), asked.get("role_name")) not in self.roles:
            raise Refused(403, "ForbiddenException", message="No access")
        issued = self.issue(f"portal {next(_numbers)}")
        expiration = datetime.fromisoformat(issued["Expiration"]).timestamp() * 1000
        return {
            "roleCredentials": {
                "accessKeyId": issued["AccessKeyId"],
                "secretAccessKey": issued["SecretAccessKey"],
                "sessionToken": issued["Token"],
                "expiration": int(expiration),
            }
        }

    def assignments(self, seen: Seen, query: str) -> dict[str, Any]:
        """ListAccounts and ListAccountRoles."""
        self._check_bearer(seen)
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        found: list[dict[str, str]]
        if seen.path == ACCOUNTS:
            field, accounts = "accountList", sorted({account for account, _ in self.roles})
            found = [
                {
                    "accountId": account,
                    "accountName": self.account_names.get(account, ""),
                    "emailAddress": f"aws+{account}@example.com",
                }
                for account in accounts
            ]
        else:
            field, account = "roleList", asked.get("account_id", "")
            found = [{"accountId": account, "roleName": name} for of, name in sorted(self.roles) if of == account]
            if not found:
                raise Refused(403, "ForbiddenException", message="No access")
        size, token = min(int(asked.get("max_result", "20")), self.most), asked.get("next_token", "page-0")
        if not 1 <= size <= 100 or not token.startswith("page-"):
            raise Refused(400, "InvalidRequestException", message="Invalid page")
        start = int(token.removeprefix("page-"))
        following = f"page-{start + size}" if start + size < len(found) else None
        return {field: found[start : start + size], "nextToken": following}

    def _check_bearer(self, seen: Seen) -> None:
        expires = self.access_tokens.get(seen.headers.get("x-amz-sso_bearer_token", ""))
        if expires is None or expires <= self.now():
            raise Refused(401, "UnauthorizedException", message="Session token not found or invalid")

    def oidc(self, seen: Seen) -> dict[str, Any]:
        """CreateToken."""
        asked = object_in(seen)
        registration = self.registration(asked)
        if asked.get("grantType") != "refresh_token":
            self.authorization.check_grant(asked, registration)
            return self._token(registration, family=secret("family"))
        used = asked.get("refreshToken", "")
        if used not in registration.refresh_tokens:
            family = self.families.get(used)  # used twice: somebody has stolen it
            registration.refresh_tokens = {
                token
                for token in registration.refresh_tokens
                if family is None or self.families.get(token) != family
            }
            raise Refused(400, "InvalidGrantException", error="invalid_grant", error_description="Invalid token")
        registration.refresh_tokens.remove(used)
        return self._token(registration, family=self.families.setdefault(used, secret("family")))

    def registration(self, asked: Mapping[str, Any]) -> Registration:
        """The client that asks."""
        registration = self.registrations.get(asked.get("clientId", ""))
        if registration is None or registration.secret != asked.get("clientSecret"):
            raise Refused(401, "InvalidClientException", error="invalid_client", error_description="Invalid client")
        if registration.expires <= self.now():
            raise Refused(401, "InvalidClientException", error="invalid_client", error_description="Client expired")
        return registration

    def log_out(self, seen: Seen) -> None:
        """Logout, of the portal."""
        if self.access_tokens.pop(seen.headers.get("x-amz-sso_bearer_token", ""), None) is None:
            raise Refused(401, "UnauthorizedException", message="Session token not found or invalid")

    def _token(self, registration: Registration, family: str) -> dict[str, Any]:
        access_token, _ = self._access_token()
        answer = {
            "accessToken": access_token,
            "tokenType": "Bearer",
            "expiresIn": int(self.token_life.total_seconds()),
        }
        if not registration.asked or "sso:account:access" in registration.asked.get("scopes", ()):
            renewed = secret("refresh")
            registration.refresh_tokens.add(renewed)
            self.families[renewed] = family
            answer["refreshToken"] = renewed
        return answer

    def sign_in(self, seen: Seen, url: str) -> dict[str, Any]:
        """CreateOAuth2Token."""
        asked = object_in(seen)
        if not asked.get("clientId"):
            raise Refused(400, "ValidationException", error="INVALID_REQUEST", message="Invalid grant")
        bound_to = self._check_proof(seen, url)
        if self.refusal is not None:
            status = 401 if self.refusal == "TOKEN_EXPIRED" else 403
            raise Refused(status, "AccessDeniedException", error=self.refusal, message="Access denied")
        refresh_token, who = asked.get("refreshToken", ""), {}
        if asked.get("grantType") == "authorization_code":
            who = {"idToken": self.authorization.exchange(asked)}
        elif asked.get("grantType") != "refresh_token":
            raise Refused(400, "ValidationException", error="INVALID_REQUEST", message="Invalid grant")
        elif self.login_tokens.get(refresh_token) != bound_to:
            raise Refused(401, "AccessDeniedException", error="TOKEN_EXPIRED", message="Token expired")
        self.login_tokens.pop(refresh_token, None)
        renewed = secret("refresh")
        self.login_tokens[renewed] = bound_to
        keys = self._keys()
        return {
            "accessToken": {name: keys[name] for name in ("accessKeyId", "secretAccessKey", "sessionToken")},
            "tokenType": "aws_sigv4",
            "expiresIn": int(self.keys_life.total_seconds()),
            "refreshToken": renewed,
            **who,
        }

    def cognito(self, seen: Seen) -> dict[str, Any]:
        """GetId and GetCredentialsForIdentity."""
        asked = object_in(seen)
        logins: dict[str, str] = asked.get("Logins", {})
        for provider, token in logins.items():
            if token not in self.logins.get(provider, set()):
                raise Refused(400, "NotAuthorizedException", message="Invalid login token.")
        who = tuple(sorted(logins.items()))
        if seen.headers["X-Amz-Target"].endswith(".GetId"):
            if not who or who not in self.identities:
                self.identities[who or ((str(next(_numbers)), ""),)] = f"eu-central-1:identity-{next(_numbers)}"
            return {"IdentityId": list(self.identities.values())[-1] if not who else self.identities[who]}
        owners = [owner for owner, identity in self.identities.items() if identity == asked["IdentityId"]]
        if not owners:
            raise Refused(400, "ResourceNotFoundException", message="Identity not found.")
        if not logins and all(token for _, token in owners[0]):
            raise Refused(400, "NotAuthorizedException", message="Logins don't match.")
        issued = self.issue(f"cognito {next(_numbers)}")
        return {
            "IdentityId": asked["IdentityId"],
            "Credentials": {
                "AccessKeyId": issued["AccessKeyId"],
                "SecretKey": issued["SecretAccessKey"],
                "SessionToken": issued["Token"],
                "Expiration": datetime.fromisoformat(issued["Expiration"]).timestamp(),
            },
        }

    def _access_token(self) -> tuple[str, datetime]:
        token, expires = secret("access"), self.now() + self.token_life
        self.access_tokens[token] = expires
        return token, expires

    def _keys(self) -> dict[str, str]:
        issued = self.issue(f"sign-in {next(_numbers)}")
        return {
            "accessKeyId": issued["AccessKeyId"],
            "secretAccessKey": issued["SecretAccessKey"],
            "sessionToken": issued["Token"],
            "accountId": ACCOUNT,
            "expiresAt": f"{self.now() + self.keys_life:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _check_proof(self, seen: Seen, url: str) -> str:
        """The thumbprint of the key that signed the DPoP proof (RFC 9449, section 4.3)."""
        try:
            header, claims, signature = seen.headers.get("DPoP", "").split(".")
            told, said = json.loads(_bytes(header)), json.loads(_bytes(claims))
            jwk = told["jwk"]
            number = ec.EllipticCurvePublicNumbers(
                int.from_bytes(_bytes(jwk["x"]), "big"), int.from_bytes(_bytes(jwk["y"]), "big"), ec.SECP256R1()
            )
            both = _bytes(signature)
            der = utils.encode_dss_signature(int.from_bytes(both[:32], "big"), int.from_bytes(both[32:], "big"))
            number.public_key().verify(der, f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
            sound = (
                (told["typ"], told["alg"], len(both)) == ("dpop+jwt", "ES256", 64)
                and (said["htm"], said["htu"]) == (seen.method, url.partition("?")[0])
                and abs(said["iat"] - self.now().timestamp()) < 300
                and said["jti"] not in self.proofs
            )
        except (ValueError, KeyError, InvalidSignature) as error:
            raise Refused(400, "ValidationException", error="INVALID_REQUEST", message=repr(error)) from None
        if not sound:
            raise Refused(400, "ValidationException", error="INVALID_REQUEST", message="Invalid DPoP proof")
        if said.get("nonce") != self.nonce:
            raise Refused(401, "AccessDeniedException", error="use_dpop_nonce", message="A nonce is needed")
        self.proofs.add(said["jti"])
        return thumbprint(jwk)


def jwk_of(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """A public key as JSON Web Key."""
    point = key.public_numbers()
    octets = (point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big"))
    x, y = (base64.urlsafe_b64encode(number).rstrip(b"=").decode() for number in octets)
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Of a key, by RFC 7638."""
    return hashlib.sha256(json.dumps(dict(sorted(jwk.items())), separators=(",", ":")).encode()).hexdigest()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _cached(path: Path, token: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(token))
    path.chmod(0o600)
    return path


async def token_sent(provider: Provider, aws: Loopback) -> str:
    """Return the access token that a fetch shows to the portal."""
    await provider.fetch()
    assert aws.requests[-1].path == PORTAL
    return aws.requests[-1].headers["x-amz-sso_bearer_token"]
