"""Credentials of a person who has signed in with ``aws login``."""

from __future__ import annotations

import hashlib
from string import Template
from typing import TYPE_CHECKING, Any, cast

from aiocreds.aws import signin
from aiocreds.aws.client import ClientConfig, ServiceClient, Surroundings, region_for
from aiocreds.config import expand, load, profile_name
from aiocreds.config.token_cache import TokenCache, time_of, utc, when
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import CredentialsNotFound, LoginRequired, ServiceRefused
from aiocreds.parse import Names, credentials_in, parse_expiration, refuse_expired, text_of
from aiocreds.provider import credential_provider

if TYPE_CHECKING:
    from aiocreds.config import Section
    from aiocreds.config.token_cache import Token
    from aiocreds.credentials import Credentials

CACHE = "~/.aws/login/cache"
RENEWAL_WINDOW = 5 * 60.0
FIELDS = Names("accessKeyId", "secretAccessKey", "sessionToken")
NEEDED = ("clientId", "refreshToken", "dpopKey")


@credential_provider
async def from_login(
    profile: str | None = None,
    *,
    credentials_file: str | None = None,
    config_file: str | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Credentials of a person who has signed in with ``aws login``, as for the console.

    ::

        [profile me]
        login_session = arn:aws:iam::123456789012:user/me

    They live for a quarter of an hour and are renewed from five minutes before their end, until the session of up
    to 12 hours is over; one process at a time, and for all that share the file. AWS CLI keeps them in
    ``~/.aws/login/cache``, or where ``AWS_LOGIN_CACHE_DIRECTORY`` says. Renewing needs the extra ``login``.

    Args:
        profile: by default ``AWS_PROFILE``, else ``default``; the key read is ``login_session``, which ``aws
            login`` writes.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        client: region, endpoint, time-outs and attempts of the call to AWS Sign-In. The region is by default the
            one signed in to, where that is known, else ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        CredentialsNotFound: the profile has no ``login_session``.
        InvalidConfiguration: a profile that was named is missing, or the extra ``login`` is not installed.
        LoginRequired: nobody has signed in, the session has ended or the password has changed; the message holds
            the command to run.
        ServiceRefused: AWS Sign-In answered no, such as for want of a permission.
        SourceUnavailable: it did not answer.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-login-credentials.html
    """
    config = await load(context, credentials_file=credentials_file, config_file=config_file)
    name = profile_name(context, profile)
    section = config.required(name)
    if section is None or not section.get("login_session"):
        raise CredentialsNotFound(f"profile {name!r} has no login_session")
    around = Surroundings(context, config, section)
    return await login_credentials(section, client=client or ClientConfig(), around=around)


async def login_credentials(section: Section, *, client: ClientConfig, around: Surroundings) -> Credentials:
    """The credentials of a profile with a ``login_session``, renewed first if their end is near."""
    session = _Session(section, client, around)
    token = await session.cache.current(life=session.life, margin=RENEWAL_WINDOW, renew=session.renew)
    if token is None:
        raise LoginRequired(f"there is no readable sign-in in {session.cache.path}: run {session.command}")
    origin, keys = f"the sign-in in {session.cache.path}", _keys(token)
    credentials = credentials_in(
        keys,
        names=FIELDS,
        expiration=parse_expiration(keys.get("expiresAt"), origin=f"the expiresAt of {origin}"),
        provider="login",
        origin=origin,
        remedy=f"run {session.command}",
        account_id=text_of(keys.get("accountId")),
    )
    refuse_expired(credentials, origin=origin, now=around.context.clock.now())
    return credentials


class _Session:
    """A session that ``aws login`` began, as AWS CLI caches it."""

    def __init__(self, section: Section, client: ClientConfig, around: Surroundings) -> None:
        self.command = f"aws login --profile {section.name}"
        self.client = client
        self.around = around
        context = around.context
        folder = Template(context.setting("AWS_LOGIN_CACHE_DIRECTORY") or CACHE).safe_substitute(context.environ)
        name = hashlib.sha256((section.get("login_session") or "").encode()).hexdigest()
        self.cache = TokenCache(f"{expand(folder, context)}/{name}.json", context)

    def life(self, token: Token) -> float:
        """Seconds that the keys have left."""
        return time_of(_keys(token).get("expiresAt")) - self.around.context.clock.now()

    async def renew(self, token: Token) -> Token:
        """Get other keys with the refresh token. What we do not know about the old ones is kept."""
        clock = self.around.context.clock
        client_id, refresh_token, pem = (text_of(token.get(name)) for name in NEEDED)
        ends = f"the sign-in in {self.cache.path} {when(_keys(token).get('expiresAt'), clock.now())}"
        if not (client_id and refresh_token and pem):
            missing = " and ".join(name for name in NEEDED if not text_of(token.get(name)))
            raise LoginRequired(f"{ends} and cannot be renewed without {missing}: run {self.command}")
        try:
            key = signin.private_key(pem)
        except ValueError:
            raise LoginRequired(
                f"{ends} and cannot be renewed, since its dpopKey is no P-256 key: run {self.command}"
            ) from None
        region = self.client.region or text_of(token.get("signInRegion")) or region_for(self.client, self.around)
        service = ServiceClient("signin", self.client, self.around, region)
        try:
            renewed = await signin.create_token(service, client_id=client_id, refresh_token=refresh_token, key=key)
        except ServiceRefused as refused:
            if refused.code not in signin.SIGN_IN_ENDED:
                raise
            raise LoginRequired(f"{refused}. Run {self.command}") from None
        expires_at = utc(clock.now() + renewed.lifetime, "%Y-%m-%dT%H:%M:%SZ")
        keys = {**_keys(token), **{name: renewed.keys[name] for name in FIELDS}, "expiresAt": expires_at}
        return {**token, "accessToken": keys, "refreshToken": renewed.refresh_token}


def _keys(token: Token) -> dict[str, Any]:
    keys = token.get("accessToken")
    return cast("dict[str, Any]", keys) if isinstance(keys, dict) else {}
