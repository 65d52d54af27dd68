"""Get credentials from IAM Identity Center (SSO)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiocreds._aws.client import ClientConfig, ConfigScope, ServiceClient
from aiocreds._core.context import DEFAULT, Context, profile_place
from aiocreds._core.decorator import credential_provider
from aiocreds._core.singleflight import note_role
from aiocreds._profiles import load, profile_name
from aiocreds._profiles.resolve import is_sso
from aiocreds._profiles.sso import SsoSettings, sso_of_arguments, sso_of_profile
from aiocreds.errors import CredentialsNotFound, LoginRequired, ServiceRefused
from aiocreds.sources._sign_in import with_person
from aiocreds.sources.sso import api
from aiocreds.sources.sso.token import SignIn

if TYPE_CHECKING:
    from aiocreds._profiles import Section
    from aiocreds.credentials import Credentials
    from aiocreds.sources._sign_in import SignInHook


@credential_provider
async def from_sso(
    profile: str | None = None,
    *,
    sso_start_url: str | None = None,
    sso_account_id: str | None = None,
    sso_region: str | None = None,
    sso_role_name: str | None = None,
    sso_session: str | None = None,
    credentials_file: str | None = None,
    config_file: str | None = None,
    client: ClientConfig | None = None,
    sign_in: SignInHook | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Get the credentials of a role in IAM Identity Center, for a person signed in with ``aws sso login``.

    ::

        [profile app]
        sso_session = corp
        sso_account_id = 123456789012
        sso_role_name = Developer

        [sso-session corp]
        sso_region = eu-central-1
        sso_start_url = https://corp.awsapps.com/start

    The sign-in is read from ``~/.aws/sso/cache``, where AWS CLI puts it. With a session it is renewed from 15
    minutes before its end, for as long as Identity Center allows; one process at a time, and for all that share
    the file. Without a session (``sso_start_url`` and ``sso_region`` in the profile itself) it cannot be renewed.

    Args:
        profile: by default ``AWS_PROFILE``, ``AWS_DEFAULT_PROFILE``, else ``default``; the keys read are
            those above. Not read when one of the next five is given.
        sso_start_url: of the access portal; by default that of the session.
        sso_account_id: the 12 digits of the role's account.
        sso_region: of the Identity Center; by default that of the session.
        sso_role_name: the role, as the portal shows it.
        sso_session: the name of an ``[sso-session …]`` of the config file.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        client: endpoint, time-outs and attempts of the calls to the portal and to SSO-OIDC. The region is
            ``sso_region``.
        sign_in: ``async (LoginRequired) -> object``, awaited when a person has to sign in, such as
            :func:`aiocreds.login.sign_in`; only while a caller waits, and one prompt at a time in a process.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        CredentialsNotFound: the profile has nothing to do with SSO.
        InvalidConfiguration: something is missing, or profile and session contradict each other.
        LoginRequired: nobody has signed in, or the sign-in has ended; the message holds the command to run.
        ServiceRefused: the portal answered no, such as for a role that the person does not have.
        SourceUnavailable: it did not answer.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
    """
    given = sso_start_url and sso_account_id and sso_region and sso_role_name and not sso_session
    config = await load(context, credentials_file=credentials_file, config_file=config_file, needed=not given)
    name = profile_name(context, profile)
    section: Section | None = None
    if sso_start_url or sso_account_id or sso_region or sso_role_name or sso_session:
        settings = sso_of_arguments(
            config,
            start_url=sso_start_url,
            region=sso_region,
            account_id=sso_account_id,
            role_name=sso_role_name,
            session=sso_session,
        )
    else:
        section = config.required(name, profile_place(context, profile))
        if section is None or not is_sso(section):
            raise CredentialsNotFound(f"profile {name!r} has no sso_session and no sso_start_url")
        settings = sso_of_profile(config, section)
    scope = ConfigScope(context, config, section or config.profile(name))
    return await role_credentials(settings, client=client or ClientConfig(), scope=scope, sign_in=sign_in)


async def role_credentials(
    settings: SsoSettings, *, client: ClientConfig, scope: ConfigScope, sign_in: SignInHook | None = None
) -> Credentials:
    """Return a role's credentials from the portal, with the cached sign-in, renewed first if it ends soon.

    ``sign_in`` is awaited, and then all of it done again, when a person has to sign in.
    """
    fetch = partial(_role_credentials, settings, client, scope)
    return await (fetch() if sign_in is None else with_person(fetch, sign_in))


async def _role_credentials(settings: SsoSettings, client: ClientConfig, scope: ConfigScope) -> Credentials:
    sign_in = SignIn(settings, client, scope)
    portal = ServiceClient("sso", client, scope, settings.region)
    note_role(f"{settings.role_name} in {settings.account_id}")
    access_token = await sign_in.access_token()
    try:
        return await api.get_role_credentials(portal, settings, access_token=access_token)
    except ServiceRefused as refused:
        if refused.code != api.UNAUTHORIZED:
            raise
        message = str(refused)
    try:  # a person may have signed in meanwhile, or the token can be renewed
        other = await sign_in.access_token(refused=access_token)
    except LoginRequired:
        ended = await sign_in.required(message)
        raise ended from None
    try:
        return await api.get_role_credentials(portal, settings, access_token=other)
    except ServiceRefused as refused:
        if refused.code != api.UNAUTHORIZED:
            raise
        ended = await sign_in.required(str(refused))
        raise ended from None
