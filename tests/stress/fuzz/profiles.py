"""The meaning of the shared files: the walk from a profile to its credentials, SSO, endpoints, commands."""

# The readers themselves are fuzzed, not only what calls them.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from aiocreds._aws.client import ClientConfig, ConfigScope, ServiceClient, region_for
from aiocreds._aws.endpoints import SERVICES
from aiocreds._base import tracing
from aiocreds._base.subprocess import split_command
from aiocreds._core.context import Context
from aiocreds._profiles.describe import record_files, record_step
from aiocreds._profiles.resolve import Kind, duration, resolve
from aiocreds._profiles.sso import sso_of_arguments, sso_of_profile
from aiocreds.errors import CredentialsError
from aiocreds.sources.imds import _Settings
from tests.stress.fuzz.grammar import NEXT_FILE, by_us
from tests.stress.fuzz.target import Target

if TYPE_CHECKING:
    from aiocreds._profiles import SharedConfig

CONTEXT = Context(environ={})
MOST = 6  # profiles that are looked at; what grows with their number is looked at from one of them


def feed(data: bytes) -> None:
    """Every profile leads somewhere, or to an error that says where to mend it."""
    config = by_us(data)
    if isinstance(config, str):
        return
    names = [name for name, _ in zip(config.profiles, range(MOST), strict=False)]
    for name in (*names, "default", "missing"):
        with tracing.recording(tracing.Record("fuzz")):
            steps(config, name)
        section = config.profile(name)
        around = ConfigScope(CONTEXT, config, section)
        for service in SERVICES:
            with suppress(CredentialsError):
                client = ServiceClient(service, ClientConfig(), around, region_for(ClientConfig(), around))
                assert client.endpoint.url.lower().startswith(("http://", "https://"))
        with suppress(CredentialsError):
            _Settings(CONTEXT, section).url(None, None)
    for name in (*config.sso_sessions, "missing")[:2]:
        given = dict.fromkeys(("start_url", "region", "account_id", "role_name"))
        with suppress(CredentialsError):
            sso_of_arguments(config, session=name, **given)
    assert len(config.profiles) == len(list(config.profiles))


def steps(config: SharedConfig, name: str) -> None:
    """The walk ends, and each step of it can be told about."""
    record_files(config, name)
    try:
        walked = resolve(config, name, "AWS_PROFILE")
    except CredentialsError:
        return
    assert walked[-1].kind is not Kind.ROLE
    assert all(step.kind is Kind.ROLE for step in walked[:-1])
    for section, kind in walked[:3]:
        record_step(section, kind)
        with suppress(CredentialsError):
            duration(section)
        if kind is Kind.SSO:
            sso_of_profile(config, section)
        if kind is Kind.PROCESS:
            with suppress(CredentialsError):
                assert split_command(section.get("credential_process") or "", place="it")[0]


_names = st.sampled_from(("a", "b", "c", "default", "corp", "missing"))
_values = {
    "role_arn": st.sampled_from(("arn:aws:iam::123456789012:role/x", "arn:aws-cn:iam", ":", "x")),
    "source_profile": _names,
    "credential_source": st.sampled_from(("Environment", "ec2instancemetadata", "EcsContainer", "x")),
    "web_identity_token_file": st.just("/var/token"),
    "sso_session": _names,
    "sso_start_url": st.sampled_from(("https://x", "x")),
    "sso_region": st.sampled_from(("eu-central-1", "-x", "é")),
    "sso_account_id": st.just("123456789012"),
    "sso_role_name": st.just("Reader"),
    "login_session": st.just("arn:aws:iam::1:user/x"),
    "aws_access_key_id": st.just("AKIDFUZZ00000001"),
    "aws_secret_access_key": st.just("s"),
    "credential_process": st.sampled_from(
        ("/bin/x --a 'b c'", "'", '"', "~/x\\", "''", "a\\ b # c", "\N{SNOWMAN}")
    ),
    "duration_seconds": st.sampled_from(("900", "x", "\u0661", "9" * 5000, "-1", "1e3")),
    "region": st.sampled_from(("eu-central-1", "us-gov-west-1", "aws-global", "x y", "-", "a" * 64, "é")),
    "services": _names,
    "endpoint_url": st.sampled_from(
        ("http://localhost:4566", "x", "http://[", "http://u:p@h", "http://h:x", "https://h/?q")
    ),
    "use_fips_endpoint": st.sampled_from(("true", "false", "1", "x")),
    "use_dualstack_endpoint": st.sampled_from(("true", "false", "x")),
    "ec2_metadata_service_endpoint": st.sampled_from(("http://[::1]", "x", "http://h/../..")),
    "ec2_metadata_service_endpoint_mode": st.sampled_from(("IPv4", "ipv6", "x")),
    "sts": st.just("\n  endpoint_url = http://localhost:4566"),
}
_line = st.sampled_from(sorted(_values)).flatmap(lambda key: _values[key].map(lambda value: f"{key} = {value}"))


def _section(header: str, lines: list[str]) -> str:
    return "\n".join([header, *lines])


def _both(config: bytes, credentials: bytes) -> bytes:
    return config + NEXT_FILE + credentials.replace(b"[profile ", b"[")


_header = st.builds("[{} {}]".format, st.sampled_from(("profile", "profile", "sso-session", "services")), _names)
_sections = st.lists(st.builds(_section, _header, st.lists(_line, max_size=6)), max_size=6)
_file = _sections.map("\n".join).map(str.encode)


def chain(n: int) -> bytes:
    """Each profile the source of another."""
    return b"".join(b"[profile p%d]\nrole_arn = r\nsource_profile = p%d\n" % (at, at + 1) for at in range(n))


def nearly(name: bytes, others: bytes) -> bytes:
    """A profile that names one that is not there, and others with nearly its name."""
    return b"[profile a]\nrole_arn = r\nsource_profile = " + name + b"\n[profile " + others + b"]\n"


TARGET = Target(
    feed=feed,
    inputs=_file | st.builds(_both, _file, _file),
    seeds=[
        b"[default]\n",
        b"[profile a]\nrole_arn = x\nsource_profile = a\n",
        chain(3),
        b"[a]\n" + NEXT_FILE + b"[profile a]\n",
    ],
    words=[
        *(f"{key} = ".encode() for key in _values),
        *(
            b"\n[profile a]\n",
            b"\n[profile b]\n",
            b"\n[default]\n",
            b"\n[sso-session corp]\n",
            b"\n[services c]\n",
            b"\n[a]\n",
        ),
        *(
            b"a\n",
            b"b\n",
            b"default\n",
            b"Environment\n",
            b"true\n",
            b"http://localhost\n",
            b"'",
            b'"',
            b"\\",
            NEXT_FILE,
            b"\n  ",
        ),
    ],
    growing={
        "a chain": chain,
        "a circle": lambda n: chain(n) + b"[profile p%d]\nrole_arn = r\nsource_profile = p0\n" % n,
        "profiles with nearly that name": lambda n: nearly(
            b"base", b"]\n[profile ".join(b"bas%d" % at for at in range(n))
        ),
        "a long name that is not there": lambda n: nearly(b"b" * n, b"b" * n + b"c"),
        "a long name of many letters": lambda n: nearly(b"abcdefghij" * n, b"abcdefghik" * n),
        "words of a command": lambda n: b"[default]\ncredential_process = " + b"a " * n,
        "a long word of a command": lambda n: b"[default]\ncredential_process = " + b"a" * n,
        "quotation marks": lambda n: b"[default]\ncredential_process = " + b"'" * n,
        "backslashes": lambda n: b"[default]\ncredential_process = " + b"\\" * n,
        "a region": lambda n: b"[default]\nregion = " + b"us-" * n,
        "an endpoint": lambda n: b"[default]\nendpoint_url = http://" + b"a." * n,
        "a duration": lambda n: (
            b"[default]\nrole_arn = r\ncredential_source = Environment\nduration_seconds = " + b"9" * n
        ),
        "keys of a session": lambda n: (
            b"[default]\nsso_session = a\n[sso-session a]\n" + b"".join(b"k%d = v\n" % at for at in range(n))
        ),
    },
)
