"""The sources that talk to something, as they are set up, and what each of them promises.

All arguments that have to do with time are left out, so that their defaults hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from aiocreds import (
    RedisLease,
    from_cognito_identity,
    from_cognito_identity_pool,
    from_container_metadata,
    from_http,
    from_instance_metadata,
    from_login,
    from_process,
    from_roles_anywhere,
    from_sso,
    from_temporary_credentials,
    from_token_file,
    from_web_token,
    shared,
)
from tests.helpers.loopback_aws import CONTAINER_PATH, ROLE, ROLES_PATH, TOKEN_PATH, Answer, json_error, sts_error
from tests.helpers.roles_anywhere import ANCHOR, PROFILE, SESSIONS, Authority, Workload
from tests.helpers.scripted import Source, issue
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, OIDC, PERMISSION_SET, PORTAL, SIGN_IN, START_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds import Context, Provider
    from tests.stress.faults.bench import Bench

MINUTE, HOUR = 60.0, 3600.0
SECRET_KEY = bytes(range(32))
ROLE_ARN = "arn:aws:iam::123456789012:role/app"
POOL = "eu-central-1:1699ebc0-7900-4099-b910-2df94f52a030"


@dataclass(frozen=True)
class Request:
    """How long an HTTP request may take that is tried again, and how often it may be sent.

    Attributes:
        timeout: seconds that one attempt may take.
        attempts: in all.
    """

    timeout: float
    attempts: int

    def longest(self, retry_after: float = 0.0) -> float:
        """All attempts, with the longest pauses between them: 0.15 s, 0.3 s and so on to 5 s, or as asked for."""
        pauses = [min(5.0, 0.15 * 2.0**number) for number in range(self.attempts - 1)]
        return self.attempts * self.timeout + sum(max(pause, retry_after) for pause in pauses)


METADATA = Request(timeout=1.0, attempts=3)  # once it answered; before that, fewer
AGENT = Request(timeout=1.0, attempts=1)
ENDPOINT = Request(timeout=1.0, attempts=4)
SERVICE = Request(timeout=10.0, attempts=3)  # connect_timeout, the other limit, is the smaller one
TIMEOUT, DYING = 60.0, 1.0  # seconds; of a program, and until one that was killed is gone
LOOKS = 0.4  # seconds; at a token file that is missing or empty, since it may be in mid-rotation


def credentials_endure(bench: Bench, seconds: float) -> None:
    bench.aws.lifetime = timedelta(seconds=seconds)


@dataclass(frozen=True)
class Subject:
    """A source, or a store that one is shared through.

    Attributes:
        name: of its row of the table.
        make: sets it up.
        lifetime: of what it gets, in seconds, as is usual for it.
        has: what a fault may need: see `faults.NEEDS`.
        paths: of the service, that a fault befalls.
        requests: those of one trip, at the most: a call is made once more where the service refuses our clock, or
            where its no may be mended by another token.
        others: seconds that a trip may take besides.
        stamped: whether its credentials may outlive their expiry.
        endure: sets how long what it gets lives, in seconds.
        refusal: a no of the service that no retry can mend.
        untimely: a no of the service to who has the wrong time; None: as STS says it.
        store_bound: seconds that a caller waits for the store at most.
    """

    name: str
    make: Callable[[Bench], Provider]
    lifetime: float
    has: tuple[str, ...]
    paths: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    others: float = 0.0
    stamped: bool = True
    endure: Callable[[Bench, float], None] = credentials_endure
    refusal: Answer | None = None
    untimely: Answer | None = None
    store_bound: float = 0.0

    def longest(self, retry_after: float = 0.0) -> float:
        """Seconds that a trip may take."""
        return sum(request.longest(retry_after) for request in self.requests) + self.others

    @property
    def tenacity(self) -> int:
        """How often it tries."""
        return min((request.attempts for request in self.requests), default=1)

    @property
    def most(self) -> int:
        """Requests that a trip may make."""
        return sum(request.attempts for request in self.requests)


def instance_metadata(bench: Bench) -> Provider:
    return from_instance_metadata(context=bench.context)


def container_metadata(bench: Bench) -> Provider:
    bench.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = bench.aws.url + CONTAINER_PATH
    bench.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = agent_token(bench)
    return from_container_metadata(context=bench.context)


def http(bench: Bench) -> Provider:
    url, token_file = bench.aws.url + CONTAINER_PATH, agent_token(bench)
    return from_http(full_uri=url, authorization_token_file=token_file, context=bench.context)


def agent_token(bench: Bench) -> str:
    def rotate(_: str) -> str:
        bench.aws.container_token = secret("agent")
        return bench.aws.container_token

    return a_token_file(bench, rotate)


def a_token_file(bench: Bench, rotate: Callable[[str], str]) -> str:
    """The token file of this bench; from its next text on, the service accepts no other."""
    bench.reads, bench.rotate = bench.home / "token", rotate
    bench.home.mkdir()
    bench.reads.write_text(rotate(""))
    return str(bench.reads)


def temporary_credentials(bench: Bench) -> Provider:
    return a_role(bench.context)


def a_role(context: Context) -> Provider:
    source = Source(usual=lambda: issue(None)).provider(context)
    return from_temporary_credentials(role_arn=ROLE_ARN, source=source, context=context)


def web_token(bench: Bench) -> Provider:
    return from_web_token(role_arn=ROLE_ARN, web_identity_token=secret("web"), context=bench.context)


def token_file(bench: Bench) -> Provider:
    def rotate(_: str) -> str:
        token = secret("web")
        bench.aws.web_tokens = {token}
        return token

    file = a_token_file(bench, rotate)
    return from_token_file(role_arn=ROLE_ARN, web_identity_token_file=file, context=bench.context)


def sso(bench: Bench) -> Provider:
    return signed_in(bench, timedelta(hours=8))


def sso_renewed(bench: Bench) -> Provider:
    """The sign-in has ten minutes left, and is renewed for an hour."""
    provider = signed_in(bench, timedelta(minutes=10))
    bench.aws.sign_in.token_life = timedelta(hours=1)
    return provider


def signed_in(bench: Bench, left: timedelta) -> Provider:
    bench.aws.sign_in.token_life = left
    file = bench.aws.sign_in.sso_login(bench.home)
    bench.reads, bench.writes = file, file.parent
    (bench.home / ".aws/config").write_text(
        f"[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = {START_URL}\n"
    )
    return from_sso(sso_session="corp", sso_account_id=ACCOUNT, sso_role_name=PERMISSION_SET, context=bench.context)


def tokens_endure(bench: Bench, seconds: float) -> None:
    bench.aws.sign_in.token_life = timedelta(seconds=seconds)


def login(bench: Bench) -> Provider:
    """The keys that are cached have two minutes left, and are renewed for a quarter of an hour."""
    bench.spare_until = bench.now() + 2 * MINUTE
    keys_endure(bench, 2 * MINUTE)
    file = bench.aws.sign_in.login(bench.home)
    keys_endure(bench, 15 * MINUTE)
    bench.reads, bench.writes = file, file.parent
    (bench.home / ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\n")
    return from_login("me", context=bench.context)


def keys_endure(bench: Bench, seconds: float) -> None:
    bench.aws.sign_in.keys_life = timedelta(seconds=seconds)


def cognito_identity(bench: Bench) -> Provider:
    identity = f"{POOL[:-1]}1"
    bench.aws.sign_in.identities[(("guest", ""),)] = identity
    return from_cognito_identity(identity_id=identity, context=bench.context)


def cognito_identity_pool(bench: Bench) -> Provider:
    return from_cognito_identity_pool(identity_pool_id=POOL, cache=bench.ids, context=bench.context)


def roles_anywhere(bench: Bench) -> Provider:
    bench.home.mkdir()
    workload = Workload(bench.home, Authority())
    bench.reads = workload.certificate
    return from_roles_anywhere(
        certificate=workload.certificate,
        private_key=workload.private_key,
        trust_anchor_arn=ANCHOR,
        profile_arn=PROFILE,
        role_arn=ROLE_ARN,
        context=bench.context,
    )


def process(bench: Bench) -> Provider:
    def document() -> dict[str, object]:
        issued = bench.aws.credentials("program")
        return {"Version": 1, "SessionToken": issued.pop("Token"), **issued}

    return from_process(command=bench.program.vend(document), context=bench.context)


def shared_role(bench: Bench) -> Provider:
    return through_the_store(bench, a_role(bench.context))


def through_the_store(bench: Bench, source: Provider, *, key: str = "app") -> Provider:
    """The settings of a host, or of a process, that shares this source."""
    if bench.engine is None:
        return shared(source, store=bench.folder, key=key)
    lease = RedisLease(bench.engine)
    return shared(source, store=bench.engine, lease=lease, key=key, secret_keys=[SECRET_KEY])


HTTP = ("http", "clock")
DENIED = sts_error("AccessDenied")
SUBJECTS = (
    Subject(
        "from_instance_metadata",
        instance_metadata,
        6 * HOUR,
        HTTP,
        (TOKEN_PATH, ROLES_PATH, ROLES_PATH + ROLE),
        (METADATA, METADATA, METADATA),
    ),
    Subject(
        "from_container_metadata",
        container_metadata,
        6 * HOUR,
        (*HTTP, "tls", "name", "token file"),
        (CONTAINER_PATH,),
        (AGENT,),
        LOOKS,
    ),
    Subject(
        "from_http", http, 6 * HOUR, (*HTTP, "tls", "name", "token file"), (CONTAINER_PATH,), (ENDPOINT,), LOOKS
    ),
    Subject(
        "from_temporary_credentials",
        temporary_credentials,
        HOUR,
        (*HTTP, "tls", "name", "refusal"),
        ("/",),
        (SERVICE, SERVICE),
        refusal=DENIED,
    ),
    Subject(
        "from_web_token", web_token, HOUR, (*HTTP, "tls", "name", "refusal"), ("/",), (SERVICE,), refusal=DENIED
    ),
    Subject(
        "from_token_file",
        token_file,
        HOUR,
        (*HTTP, "tls", "name", "token file", "refusal"),
        ("/",),
        (SERVICE,),
        LOOKS,
        refusal=DENIED,
    ),
    Subject(
        "from_sso",
        sso,
        HOUR,
        (*HTTP, "tls", "name", "token file", "refusal"),
        (PORTAL,),
        (SERVICE, SERVICE),
        refusal=json_error(401, "UnauthorizedException"),
    ),
    Subject(
        "from_sso, its sign-in due for renewal",
        sso_renewed,
        HOUR,
        (*HTTP, "tls", "name", "token file", "cache", "refusal"),
        (OIDC,),
        (SERVICE, SERVICE),
        1.0,
        endure=tokens_endure,
        refusal=json_error(400, "InvalidGrantException"),
    ),
    Subject(
        "from_login",
        login,
        15 * MINUTE,
        (*HTTP, "tls", "name", "token file", "cache", "refusal"),
        (SIGN_IN,),
        (SERVICE, SERVICE),
        1.0,
        endure=keys_endure,
        refusal=json_error(401, "AccessDeniedException", error="TOKEN_EXPIRED"),
        untimely=json_error(400, "ValidationException", error="INVALID_REQUEST"),
    ),
    Subject("from_cognito_identity", cognito_identity, HOUR, (*HTTP, "tls", "name"), ("/",), (SERVICE,)),
    Subject(
        "from_cognito_identity_pool",
        cognito_identity_pool,
        HOUR,
        (*HTTP, "tls", "name", "cache"),
        ("/",),
        (SERVICE, SERVICE),
    ),
    Subject(
        "from_roles_anywhere",
        roles_anywhere,
        HOUR,
        (*HTTP, "tls", "name", "token file", "refusal"),
        (SESSIONS,),
        (SERVICE, SERVICE),
        LOOKS,
        refusal=json_error(403, "AccessDeniedException"),
        untimely=json_error(403, "AccessDeniedException"),
    ),
    Subject("from_process", process, HOUR, ("program",), others=TIMEOUT + DYING, stamped=False),
)
VALKEY = Subject(
    *("shared, a role through Valkey", shared_role, HOUR, ("store",), ("/",), (SERVICE, SERVICE)), store_bound=0.25
)
FOLDER = Subject(
    *("shared, a role through a folder", shared_role, HOUR, ("folder",), ("/",), (SERVICE, SERVICE)),
    store_bound=2.0,
)
SHARED = (VALKEY, FOLDER)
