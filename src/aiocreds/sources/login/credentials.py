"""Get the credentials of a person who has signed in with ``aws login``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocreds._aws.client import ClientConfig, ConfigScope
from aiocreds._base import threads
from aiocreds._core.context import DEFAULT, Context, profile_place
from aiocreds._core.decorator import credential_provider
from aiocreds._profiles import load, profile_name
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration
from aiocreds.sources._sign_in import with_person
from aiocreds.sources.login import dpop
from aiocreds.sources.login.token import LoginSession

if TYPE_CHECKING:
    from aiocreds._profiles import Section
    from aiocreds.credentials import Credentials
    from aiocreds.sources._sign_in import SignInHook


@credential_provider
async def from_login(
    profile: str | None = None,
    *,
    credentials_file: str | None = None,
    config_file: str | None = None,
    client: ClientConfig | None = None,
    sign_in: SignInHook | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Get the credentials of a person who has signed in with ``aws login``, as for the console.

    ::

        [profile me]
        login_session = arn:aws:iam::123456789012:user/me

    They live for a quarter of an hour and are renewed from five minutes before their end, until the session of up
    to 12 hours is over; by one process at a time, and for all that share the file. AWS CLI keeps them in
    ``~/.aws/login/cache``, or where ``AWS_LOGIN_CACHE_DIRECTORY`` says.

    Renewing needs the library ``cryptography``: ``pip install 'aiocreds[login]'``. Where it is missing the first
    fetch says so, however long the cached keys are good for, so that a mistake in a deployment shows at once.

    Args:
        profile: by default ``AWS_PROFILE``, ``AWS_DEFAULT_PROFILE``, else ``default``; the key read is
            ``login_session``, which ``aws login`` writes.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        client: region, endpoint, time-outs and attempts of the call to AWS Sign-In. The region is by default the
            one signed in to, where that is known, else ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        sign_in: ``async (LoginRequired) -> object``, awaited when a person has to sign in, such as
            :func:`aiocreds.login.sign_in`; only while a caller waits, and one prompt at a time in a process.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        CredentialsNotFound: the profile has no ``login_session``.
        InvalidConfiguration: a profile that was named is missing, or the extra ``login`` is not installed.
        LoginRequired: nobody has signed in, what is cached is incomplete, the session has ended or the password
            has changed; the message holds the command to run.
        ServiceRefused: AWS Sign-In answered no, such as for want of a permission.
        SourceUnavailable: it did not answer.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-login-credentials.html
    """
    config = await load(context, credentials_file=credentials_file, config_file=config_file)
    name = profile_name(context, profile)
    section = config.required(name, profile_place(context, profile))
    if section is None or not section.get("login_session"):
        raise CredentialsNotFound(f"profile {name!r} has no login_session")
    scope = ConfigScope(context, config, section)
    return await login_credentials(section, client=client or ClientConfig(), scope=scope, sign_in=sign_in)


async def login_credentials(
    section: Section, *, client: ClientConfig, scope: ConfigScope, sign_in: SignInHook | None = None
) -> Credentials:
    """Return the credentials of a profile with a ``login_session``, renewed first if they end soon.

    ``sign_in`` is awaited, and then all of it done again, when a person has to sign in.
    """
    if not await threads.submit(dpop.can_prove):
        raise InvalidConfiguration(
            f"profile {section.name!r} has a login_session ({section.where('login_session')}), and what aws login"
            f" brought is renewed with the library cryptography, which is not installed: {dpop.INSTALL}"
        )
    fetch = LoginSession(section, client, scope).credentials
    return await (fetch() if sign_in is None else with_person(fetch, sign_in))
