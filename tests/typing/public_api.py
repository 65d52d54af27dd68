"""The public API as a user's type checker sees it. Nothing here runs; mypy and pyright read it, both strict.

A line that a checker must refuse says so for both of them; a mark that is not needed is an error in itself.
"""

# ruff: noqa: TC002, TC003 - a program that runs imports what it names

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, assert_type

import aiohttp
from aiobotocore.session import AioSession, get_session
from fastapi import Depends, FastAPI

from aiocreds import (
    ChainExhausted,
    ClientConfig,
    Context,
    Credentials,
    CredentialsError,
    CredentialsNotFound,
    Explanation,
    InvalidConfiguration,
    LoginRequired,
    Provider,
    RefreshStatus,
    ServiceRefused,
    SourceUnavailable,
    chain,
    credential_provider,
    default_chain,
    explain,
    from_cognito_identity,
    from_cognito_identity_pool,
    from_container_metadata,
    from_env,
    from_http,
    from_ini,
    from_instance_metadata,
    from_login,
    from_process,
    from_roles_anywhere,
    from_sso,
    from_temporary_credentials,
    from_token_file,
    from_web_token,
)
from aiocreds.integrations.aiobotocore import attach
from aiocreds.login import Prompt, SignedIn, SignedOut, sign_in, sign_out

ROLE = "arn:aws:iam::123456789012:role/app"


async def signature(data: bytes) -> bytes:
    return data


async def ask_for_code(serial_number: str) -> str:
    """An MFA callback."""
    return serial_number


async def my_coroutine() -> Credentials:
    """Any coroutine function will do as a source."""
    return Credentials("AKIA", "secret")


async def id_token() -> str:
    """A token of an identity provider."""
    return "eyJ"


async def assume(*, role_arn: str, web_identity_token: str, **request: object) -> Credentials:
    """A role assumer of one's own."""
    return await my_coroutine()


class IdsElsewhere:
    """A cache of identity ids."""

    async def get(self, key: str) -> str | None:
        """Look up."""

    async def put(self, key: str, value: str) -> None:
        """Keep."""

    async def delete(self, key: str) -> None:
        """Forget."""


class MySource:
    """So will an object that can be awaited when called."""

    async def __call__(self) -> Credentials:
        return await my_coroutine()


async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """An aiohttp client middleware."""
    return await handler(request)


# Factories


def factories(context: Context) -> None:
    """Each gives a Provider, checks its arguments, and has only keywords for what is optional."""
    assert_type(from_env(), Provider)
    assert_type(from_env(context=context), Provider)
    assert_type(from_ini(), Provider)
    assert_type(from_ini("app", credentials_file="a", config_file="b", mfa_code=ask_for_code), Provider)
    assert_type(
        from_roles_anywhere(
            certificate="tls.crt", private_key=signature, trust_anchor_arn="a", profile_arn="p", role_arn="r"
        ),
        Provider,
    )
    assert_type(from_process(command="get-keys --json", timeout=timedelta(seconds=5)), Provider)
    assert_type(from_http(full_uri="http://127.0.0.1/", authorization_token="t", max_retries=1), Provider)
    assert_type(from_container_metadata(timeout=2, max_retries=1), Provider)
    assert_type(from_instance_metadata(endpoint_mode="IPv6", v1_disabled=True), Provider)
    assert_type(default_chain("app", client=ClientConfig(region="eu-central-1"), timeout=0.5), Provider)
    assert_type(
        from_temporary_credentials(
            role_arn=ROLE,
            source=from_env(),
            duration_seconds=timedelta(hours=1),
            policy_arns=["arn:aws:iam::aws:policy/ReadOnlyAccess"],
            tags={"team": "blue"},
            transitive_tag_keys=("team",),
            provided_contexts=[{"ProviderArn": "a", "ContextAssertion": "b"}],
            serial_number="arn:aws:iam::123456789012:mfa/me",
            mfa_code=ask_for_code,
            client=ClientConfig(middlewares=[middleware]),
        ),
        Provider,
    )
    assert_type(from_temporary_credentials(role_arn=ROLE, source=my_coroutine), Provider)
    signed_in(context)


def signed_in(context: Context) -> None:
    """Those that somebody signs in for."""
    assert_type(from_sso("app", config_file="a", context=context), Provider)
    assert_type(from_sso(sso_session="corp", sso_account_id="123456789012", sso_role_name="Developer"), Provider)
    assert_type(from_login("me", client=ClientConfig(read_timeout=5)), Provider)
    assert_type(from_token_file(), Provider)
    assert_type(from_token_file(web_identity_token_file="~/token", role_arn=ROLE, policy_arns=["a"]), Provider)
    assert_type(from_web_token(role_arn=ROLE, web_identity_token="eyJ", duration_seconds=900), Provider)
    assert_type(from_web_token(role_arn=ROLE, web_identity_token=id_token), Provider)
    assert_type(
        from_web_token(role_arn=ROLE, web_identity_token=id_token, role_assumer_with_web_identity=assume), Provider
    )
    logins = {"graph.facebook.com": "token"}
    assert_type(
        from_cognito_identity(identity_id="eu-central-1:1", logins={"google": id_token, "x": "y"}), Provider
    )
    assert_type(from_cognito_identity_pool(identity_pool_id="eu-central-1:1", logins=logins), Provider)
    assert_type(from_cognito_identity_pool(identity_pool_id="eu-central-1:1", cache=IdsElsewhere()), Provider)
    assert_type(
        default_chain(sso_session="corp", sso_account_id="1", sso_role_name="r", endpoint_mode="IPv4"), Provider
    )

    from_sso("app", "https://corp.awsapps.com/start")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_web_token(role_arn=ROLE)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_web_token(role_arn=ROLE, web_identity_token=lambda: "eyJ")  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]
    from_cognito_identity_pool(identity_pool_id="x", cache={})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    from_env("app")  # type: ignore[call-arg,arg-type]  # pyright: ignore[reportCallIssue]
    from_env(profile="app")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_ini("app", "credentials")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_ini(mfa_code=lambda serial: "123456")  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]
    from_instance_metadata(endpoint_mode="IPv5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    from_container_metadata(timeout="1 s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    from_temporary_credentials()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_temporary_credentials(ROLE)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_temporary_credentials(role_arn=ROLE, source="app")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    default_chain(regon="eu-central-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# A source of one's own


@credential_provider
async def from_vault(path: str, *, lease: float = 60.0) -> Credentials:
    """A source of one's own."""
    raise CredentialsNotFound(f"nothing at {path} for {lease} s")


def decorated() -> None:
    """The decorator keeps the signature and gives a factory of providers."""
    assert_type(from_vault("aws/app"), Provider)
    assert_type(from_vault(path="aws/app", lease=5), Provider)
    from_vault()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_vault(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    from_vault("aws/app", 5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    from_vault("aws/app", leese=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    factory: Callable[[str], Provider] = from_vault
    assert_type(factory("aws/app"), Provider)


@credential_provider  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def from_nowhere() -> str:
    """A source has to give Credentials."""
    return "AKIA"


@credential_provider  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def from_blocking() -> Credentials:
    """A source has to be a coroutine function."""
    return Credentials("AKIA", "secret")


# Chains


def chains() -> None:
    """A chain takes providers and coroutine functions in any mix."""
    assert_type(chain(from_env(), from_vault("aws/app"), my_coroutine, MySource()), Provider)
    assert_type(chain(chain(from_env()), default_chain(), context=Context()), Provider)
    assert_type(chain(from_env()).expire_after(300), Provider)
    chain(from_env)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chain("env")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Providers


async def providers(provider: Provider) -> None:
    """The values that a provider gives."""
    assert_type(await provider(), Credentials)
    assert_type(await provider.get(min_ttl=60), Credentials)
    assert_type(await provider.get(min_ttl=timedelta(minutes=5)), Credentials)
    assert_type(await provider.fetch(), Credentials)
    assert_type(provider.expire_after(timedelta(minutes=5)), Provider)
    assert_type(provider.expire_after(0.5), Provider)
    provider.invalidate()
    provider.invalidate(await provider())
    async with provider as entered:
        assert_type(entered, Provider)
    any_source: Callable[[], Awaitable[Credentials]] = provider
    assert_type(await any_source(), Credentials)

    await provider("app")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await provider.get(60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    provider.expire_after("5m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    provider.access_key_id  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018


def status(provider: Provider) -> None:
    """The state that a readiness probe reads."""
    assert_type(provider.status, RefreshStatus)
    assert_type(provider.status.expiration, datetime | None)
    assert_type(provider.status.seconds_left, float | None)
    assert_type(provider.status.loaded_at, datetime | None)
    assert_type(provider.status.last_error, CredentialsError | None)
    assert_type(provider.status.successes, int)
    assert_type(provider.status.failures, int)
    assert_type(provider.status.next_attempt, datetime | None)


# Credentials


def credentials(got: Credentials) -> None:
    """Frozen, and every field has its type."""
    assert_type(got.access_key_id, str)
    assert_type(got.secret_access_key, str)
    assert_type(got.session_token, str | None)
    assert_type(got.expiration, datetime | None)
    assert_type(got.account_id, str | None)
    assert_type(got.credential_scope, str | None)
    assert_type(got.provider, str | None)
    assert_type(got.identity_id, str | None)
    assert_type(got.may_outlive_expiry, bool)
    got.access_key_id = "AKIA"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Credentials("AKIA")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Credentials("AKIA", "secret", expiration=1e9)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Context and ClientConfig


async def surroundings(session: aiohttp.ClientSession) -> None:
    """The objects and settings that a program passes in."""
    assert_type(Context(), Context)
    async with Context(environ={"AWS_REGION": "eu-central-1"}, home="/home/app", session=session) as context:
        assert_type(context, Context)
    config = ClientConfig(
        region="eu-central-1",
        endpoint_url="http://127.0.0.1:5000",
        use_fips=False,
        use_dualstack=True,
        connect_timeout=timedelta(seconds=2),
        read_timeout=5,
        max_attempts=2,
        middlewares=(middleware,),
    )
    assert_type(config.region, str | None)
    assert_type(config.max_attempts, int)
    ClientConfig(regon="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ClientConfig(middlewares=[my_coroutine])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Context(environ="AWS_REGION=x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Errors


async def explaining(provider: Provider) -> None:
    explanation = await explain(provider)
    assert_type(explanation, Explanation)
    assert_type(explanation.warnings, tuple[str, ...])
    assert_type(explanation.error, CredentialsError | None)
    for step in explanation.step.walk():
        assert_type([look.found for look in step.looked_at], list[str])
        assert_type(step.seconds_left, float | None)


async def errors(provider: Provider) -> None:
    """The tree, and what each error tells."""
    try:
        await provider()
    except ChainExhausted as error:
        assert_type(error.attempts, tuple[CredentialsError, ...])
    except ServiceRefused as error:
        assert_type(error.code, str)
        assert_type(error.message, str)
        assert_type(error.status, int)
        assert_type(error.request_id, str | None)
    except (CredentialsNotFound, InvalidConfiguration, SourceUnavailable, LoginRequired) as error:
        assert_type(error.provider, str | None)
        assert_type(error.try_next_link, bool)
    except CredentialsError as error:
        assert_type(error, CredentialsError)
    raise CredentialsNotFound("nothing here", try_next_link=False)


# Signing in


async def show(prompt: Prompt) -> str | None:
    """A prompt of a notebook."""
    assert_type(prompt.user_code, str | None)
    return prompt.url if prompt.wants_code else None


async def ask_to_sign_in(required: LoginRequired) -> None:
    """A hook of one's own."""
    assert_type(required.sign_in, dict[str, str])
    await sign_in(required, prompt=show, open_browser=print)


async def signing_in(context: Context) -> None:
    """In and out, and by a source."""
    assert_type(await sign_in("app", sso_session=None, timeout=timedelta(minutes=1), context=context), SignedIn)
    assert_type(await sign_out(everything=True), list[SignedOut])
    for provider in (
        default_chain(sign_in=sign_in),
        from_ini(sign_in=ask_to_sign_in),
        from_sso(sign_in=sign_in),
        from_login("me", sign_in=ask_to_sign_in),
    ):
        assert_type(await provider(), Credentials)
    await sign_in("app", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] - keywords only


# Integrations


async def plugged_in(provider: Provider) -> None:
    """attach() gives back the session it was given, with its own type."""

    class MySession(AioSession):
        """A session of one's own."""

    assert_type(attach(get_session(), provider), AioSession)
    assert_type(attach(MySession(), provider), MySession)
    attach("session", provider)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    attach(get_session(), from_env)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


app = FastAPI()
app_provider = default_chain()


@app.get("/whoami")
async def whoami(credentials: Annotated[Credentials, Depends(app_provider)]) -> dict[str, Any]:
    """A provider is a dependency as it stands."""
    return {"account": assert_type(credentials.account_id, str | None)}
