"""A role whose STS is the loopback AWS, and what STS answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocreds import Credentials, from_temporary_credentials
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from aiocreds import ClientConfig, Context, Provider
    from tests.helpers.loopback_aws import Loopback

ROLE_ARN = "arn:aws:iam::123456789012:role/reader"
CALLER = Credentials("AKIACALLERCALLER0042", secret(), secret("session"))


async def caller() -> Credentials:
    return CALLER


def role(aws: Loopback, context: Context, client: ClientConfig | None = None, **environ: str) -> Provider:
    """Return a provider of a role whose STS is on loopback, and let STS know who asks for it."""
    assert isinstance(context.environ, dict)
    context.environ.update(aws.environ | environ)
    aws.secrets.setdefault(CALLER.access_key_id, (CALLER.secret_access_key, CALLER.session_token))
    return from_temporary_credentials(role_arn=ROLE_ARN, source=caller, client=client, context=context)


def answer(
    *, key: str = "ASIAANSWER00000001", expiration: str = "2999-01-01T00:00:00Z", arn: str = "", last: str = ""
) -> str:
    """Return a good answer of STS to AssumeRole, but for what a test changes."""
    return f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <AssumedRoleUser><Arn>{arn}</Arn></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId>
        <SecretAccessKey>{secret()}</SecretAccessKey><SessionToken>{secret("token")}</SessionToken>
        <Expiration>{expiration}</Expiration></Credentials>{last}</AssumeRoleResult></AssumeRoleResponse>"""
