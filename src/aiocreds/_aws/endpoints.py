"""The endpoint of a service: AWS's own for a region, or a configured one.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html and
https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from aiocreds._profiles import Setting
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping


class Partition(NamedTuple):
    """A partition of AWS.

    Attributes:
        name: such as ``"aws"``, the second part of an ARN.
        dns_suffix: the end of its host names.
        dual_stack_suffix: the end of its host names that also answer on IPv6.
        home_region: the region to ask when only the partition is known.
        region_pattern: a regular expression for its regions, present and future.
        global_region: its region that is not a place.
        supports_fips: whether it has FIPS endpoints.
        supports_dual_stack: whether it has dual-stack endpoints.
    """

    name: str
    dns_suffix: str
    dual_stack_suffix: str
    home_region: str
    region_pattern: str
    global_region: str | None
    supports_fips: bool = True
    supports_dual_stack: bool = True


class Service(NamedTuple):
    """The host names of a service: ``{prefix}[-fips].{region}.{suffix}``, but for the exceptions.

    Attributes:
        prefix: the beginning of its host names.
        exceptions: host names by region or partition and (FIPS, dual-stack).
    """

    prefix: str
    exceptions: Mapping[tuple[str, tuple[bool, bool]], str]


AWS = Partition(
    "aws", "amazonaws.com", "api.aws", "us-east-1", r"^(us|eu|ap|sa|ca|me|af|il|mx)\-\w+\-\d+$", "aws-global"
)

PARTITIONS: tuple[Partition, ...] = (
    AWS,
    Partition(
        "aws-cn",
        "amazonaws.com.cn",
        "api.amazonwebservices.com.cn",
        "cn-northwest-1",
        r"^cn\-\w+\-\d+$",
        "aws-cn-global",
    ),
    Partition(
        "aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu", "eusc-de-east-1", r"^eusc\-(de)\-\w+\-\d+$", None
    ),
    Partition("aws-iso", "c2s.ic.gov", "api.aws.ic.gov", "us-iso-east-1", r"^us\-iso\-\w+\-\d+$", "aws-iso-global"),
    Partition(
        "aws-iso-b",
        "sc2s.sgov.gov",
        "api.aws.scloud",
        "us-isob-east-1",
        r"^us\-isob\-\w+\-\d+$",
        "aws-iso-b-global",
    ),
    Partition(
        "aws-iso-e",
        "cloud.adc-e.uk",
        "api.cloud-aws.adc-e.uk",
        "eu-isoe-west-1",
        r"^eu\-isoe\-\w+\-\d+$",
        "aws-iso-e-global",
    ),
    Partition(
        "aws-iso-f",
        "csp.hci.ic.gov",
        "api.aws.hci.ic.gov",
        "us-isof-south-1",
        r"^us\-isof\-\w+\-\d+$",
        "aws-iso-f-global",
    ),
    Partition(
        "aws-us-gov", "amazonaws.com", "api.aws", "us-gov-west-1", r"^us\-gov\-\w+\-\d+$", "aws-us-gov-global"
    ),
)

PLAIN, FIPS, DUAL_STACK, BOTH = (False, False), (True, False), (False, True), (True, True)

SERVICES = {
    "sts": Service(
        "sts",
        {("aws-global", PLAIN): "sts.amazonaws.com", ("aws-us-gov", FIPS): "sts.{region}.amazonaws.com"},
    ),
    "sso": Service("portal.sso", {("aws-us-gov", FIPS): "portal.sso.{region}.amazonaws.com"}),
    "sso-oidc": Service("oidc", {("aws-us-gov", FIPS): "oidc.{region}.amazonaws.com"}),
    "cognito-identity": Service(
        "cognito-identity",
        {
            ("aws", DUAL_STACK): "cognito-identity.{region}.amazonaws.com",
            ("us-east-1", BOTH): "cognito-identity-fips.{region}.amazonaws.com",
            ("us-east-2", BOTH): "cognito-identity-fips.{region}.amazonaws.com",
            ("us-west-1", BOTH): "cognito-identity-fips.{region}.amazonaws.com",
            ("us-west-2", BOTH): "cognito-identity-fips.{region}.amazonaws.com",
        },
    ),
    "rolesanywhere": Service("rolesanywhere", {}),
    "signin": Service(
        "signin",
        {
            ("aws", PLAIN): "{region}.signin.aws.amazon.com",
            ("aws-cn", PLAIN): "{region}.signin.amazonaws.cn",
            ("aws-eusc", PLAIN): "{region}.signin.amazonaws-eusc.eu",
            ("aws-iso", PLAIN): "{region}.signin.c2shome.ic.gov",
            ("aws-iso-b", PLAIN): "{region}.signin.sc2shome.sgov.gov",
            ("aws-iso-e", PLAIN): "{region}.signin.csphome.adc-e.uk",
            ("aws-iso-f", PLAIN): "{region}.signin.csphome.hci.ic.gov",
            ("aws-us-gov", PLAIN): "{region}.signin.amazonaws-us-gov.com",
            ("us-gov-west-1", FIPS): "signin-fips.amazonaws-us-gov.com",
            ("aws-us-gov", FIPS): "{region}.signin-fips.amazonaws-us-gov.com",
        },
    ),
}


class Endpoint(NamedTuple):
    """The endpoint of a service.

    Attributes:
        url: never ends in a slash: append an absolute path.
        signing_region: the region to sign for.
    """

    url: str
    signing_region: str

    @property
    def host(self) -> str:
        """Return the host, with its port unless it is the default one."""
        return self.url.partition("//")[2].partition("/")[0]


class Section(Protocol):
    """The methods of a section of the shared config file that are used here."""

    def get(self, key: str, /) -> str | None:
        """Return the value of a key."""
        ...

    def subsection(self, key: str, /) -> Mapping[str, str]:
        """Return the settings nested under a key; empty when there are none."""
        ...

    def where(self, key: str, nested: str | None = None, /) -> str:
        """Return the place of a key, or of one nested under it, as ``file:line``."""
        ...


def endpoint_for(
    service: str,
    *,
    region: str,
    endpoint_url: str | None = None,
    use_fips: bool | None = None,
    use_dualstack: bool | None = None,
    environ: Mapping[str, str],
    profile: Section | None = None,
    services: Mapping[str, Section] | None = None,
) -> Endpoint:
    """Return the endpoint of a service. Code wins over the environment, and that over the profile.

    Reads ``AWS_ENDPOINT_URL_<SERVICE>``, ``AWS_ENDPOINT_URL``, ``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS``,
    ``AWS_USE_FIPS_ENDPOINT`` and ``AWS_USE_DUALSTACK_ENDPOINT``; of the profile, the keys of the same names
    without ``AWS_``, in lower case, and ``services``.

    Args:
        service: such as ``"sts"``.
        region: the region to ask.
        endpoint_url: wins over any configured one.
        use_fips: None for the setting in the environment or the profile.
        use_dualstack: None for the setting in the environment or the profile.
        environ: the environment variables.
        profile: the profile's settings.
        services: the ``[services …]`` sections of the config file, by name.

    Raises:
        InvalidConfiguration: a setting cannot be used, or an endpoint is configured together with FIPS or
            dual-stack, which would be lost.
    """
    fips = _switch("use_fips", use_fips, "AWS_USE_FIPS_ENDPOINT", environ, profile)
    dualstack = _switch("use_dualstack", use_dualstack, "AWS_USE_DUALSTACK_ENDPOINT", environ, profile)
    custom = (
        configured_url(service, environ=environ, profile=profile, services=services)
        if endpoint_url is None
        else Setting(endpoint_url, "endpoint_url=")
    )
    return _endpoint(service, region, custom, fips, dualstack)


@lru_cache(maxsize=64)  # many roles use one endpoint
def _endpoint(
    service: str, region: str, custom: Setting | None, fips: str | None, dualstack: str | None
) -> Endpoint:
    """Return the endpoint.

    Args:
        service: such as ``"sts"``.
        region: the region to ask.
        custom: the configured URL.
        fips: the place where FIPS is turned on.
        dualstack: the place where dual-stack is turned on.
    """
    if custom is None:
        return resolve(service, region, use_fips=bool(fips), use_dualstack=bool(dualstack))
    for kind, place in (("FIPS", fips), ("dual-stack", dualstack)):
        if place:
            raise InvalidConfiguration(
                f"{custom.place} sets the endpoint of {service} and {place} asks for {kind}, which would be "
                f"lost: drop one of the two"
            )
    return Endpoint(checked_url(custom), signing_region(region))


def resolve(service: str, region: str, *, use_fips: bool = False, use_dualstack: bool = False) -> Endpoint:
    """Return AWS's own endpoint of a service in a region.

    Raises:
        InvalidConfiguration: the region cannot be one, or its partition has no such endpoints.
    """
    signed_for = signing_region(region)
    partition = partition_of(region)
    for kind, wanted, supported in (
        ("FIPS", use_fips, partition.supports_fips),
        ("dual-stack", use_dualstack, partition.supports_dual_stack),
    ):
        if wanted and not supported:
            raise InvalidConfiguration(
                f"partition {partition.name} (region {region}) has no {kind} endpoints: turn {kind} off"
            )
    prefix, exceptions = SERVICES[service]
    variant = (use_fips, use_dualstack)
    host = exceptions.get((region, variant)) or exceptions.get((partition.name, variant))
    if host is None:
        suffix = partition.dual_stack_suffix if use_dualstack else partition.dns_suffix
        host = f"{prefix}{'-fips' if use_fips else ''}.{{region}}.{suffix}"
    return Endpoint(f"https://{host.format(region=region)}", signed_for)


def partition_of(region: str) -> Partition:
    """Return the partition of a region; ``aws`` for a name that matches none."""
    for partition in PARTITIONS:
        if region == partition.global_region or re.fullmatch(partition.region_pattern, region):
            return partition
    return AWS


def partition_named(name: str) -> Partition:
    """Return the partition with a name; ``aws`` when there is none."""
    return next((partition for partition in PARTITIONS if partition.name == name), AWS)


def home_region(arn: str) -> str:
    """Return the home region of an ARN's partition, for when no region is configured.

    An ARN that names no known partition is treated as one of ``aws``.
    """
    return partition_named(arn.partition(":")[2].partition(":")[0]).home_region


@lru_cache(maxsize=64)
def signing_region(region: str) -> str:
    """Return the region to sign for.

    Raises:
        InvalidConfiguration: the name could not be part of a host name.
    """
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", region):
        raise InvalidConfiguration(f"{region[:100]!r} is not a region: expected a name such as 'eu-central-1'")
    return "us-east-1" if region == "aws-global" else region


def configured_url(
    service: str,
    *,
    environ: Mapping[str, str],
    profile: Section | None = None,
    services: Mapping[str, Section] | None = None,
) -> Setting | None:
    """Return the URL that the environment, else the profile, sets for a service.

    Raises:
        InvalidConfiguration: the profile names a ``services`` section that is not there.
    """
    if switched_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", environ, profile):
        return None
    key = service.replace("-", "_")
    for variable in (f"AWS_ENDPOINT_URL_{key.upper()}", "AWS_ENDPOINT_URL"):
        value = environ.get(variable, "")
        if value.strip():
            return Setting(value, variable)
    if profile is None:
        return None
    if name := profile.get("services"):
        section = (services or {}).get(name)
        if section is None:
            raise InvalidConfiguration(
                f"{profile.where('services')} names a section [services {name}] that does not exist: "
                f"add it to the config file, or drop the line"
            )
        if url := section.subsection(key).get("endpoint_url"):
            return Setting(url, f"endpoint_url ({section.where(key, 'endpoint_url')})")
    if url := profile.get("endpoint_url"):
        return Setting(url, f"endpoint_url ({profile.where('endpoint_url')})")
    return None


def switched_on(variable: str, environ: Mapping[str, str], profile: Section | None = None) -> str | None:
    """Return where a switch is turned on: the variable, or the profile's key of that name. None when it is off.

    Raises:
        InvalidConfiguration: it is neither on nor off; read as "off", FIPS could be lost silently.
    """
    if value := environ.get(variable, "").strip().lower():
        place = variable
    elif profile is None:
        return None
    else:
        key = variable.removeprefix("AWS_").lower()
        if not (value := (profile.get(key) or "").strip().lower()):
            return None
        place = f"{key} ({profile.where(key)})"
    if value not in {"true", "1", "false", "0"}:
        raise InvalidConfiguration(f"{place} is {value!r}: write true or false")
    return place if value in {"true", "1"} else None


def _switch(
    argument: str, given: bool | None, variable: str, environ: Mapping[str, str], profile: Section | None
) -> str | None:
    if given is None:
        return switched_on(variable, environ, profile)
    return f"{argument}=True" if given else None


def checked_url(setting: Setting) -> str:
    """Return the configured URL of an endpoint, without a slash at its end.

    Raises:
        InvalidConfiguration: no request can be made to it. The message leaves out the URL, which may hold a
            password.
    """
    if fault := _fault(setting.value):
        raise InvalidConfiguration(f"{setting.place} {fault}: expected a URL such as http://localhost:4566")
    return setting.value.removesuffix("/")


@lru_cache(maxsize=64)
def _fault(url: str) -> str | None:
    if not re.fullmatch("[!-~]+", url):
        return "is blank or holds a character that no URL may hold"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"}:
        return "has another scheme than http or https"
    if "@" in parts.netloc:
        return "holds a user name or password"
    if "?" in url or "#" in url:
        return "has a query or a fragment"
    if port == 0 or not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", parts.hostname or ""):
        return "has no valid host and port"
    return None
