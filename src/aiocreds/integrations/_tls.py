"""Refuse to log in to a database where others may read the token."""

from __future__ import annotations

from aiocreds.errors import InvalidConfiguration

BUNDLE = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
CONTEXT = 'ssl.create_default_context(cafile="global-bundle.pem")'
REMEDIES = {  # by the client's option: what its own functions take, and what SQLAlchemy's do
    "ssl": (f"ssl={CONTEXT}", f'connect_args={{"ssl": {CONTEXT}}}'),
    "sslmode": (
        'sslmode="verify-full" and sslrootcert="global-bundle.pem"',
        'connect_args={"sslmode": "verify-full", "sslrootcert": "global-bundle.pem"}',
    ),
}


def without_tls(taker: str, option: str, found: str) -> InvalidConfiguration:
    """Return the error that says which option is missing, and how to give it.

    Args:
        taker: the function that the program has called; ``attach`` is that for SQLAlchemy.
        option: the client's option about TLS, ``ssl`` or ``sslmode``.
        found: what there is instead.
    """
    own, of_engine = REMEDIES[option]
    remedy, permit = f"pass {own}", "pass plaintext=True"
    if taker == "attach":
        remedy = f"make the engine by create_async_engine(url, {of_engine})"
        permit = "call attach(…, plaintext=True)"
    return InvalidConfiguration(
        f"{taker}: {found}, so others might read the token, and log in with it for 15 minutes: {remedy}, with the"
        f" certificate authorities of RDS ({BUNDLE}); or, where something else encrypts, such as a tunnel, {permit}"
    )
