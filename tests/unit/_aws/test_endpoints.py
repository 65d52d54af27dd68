"""Where a service is found: against the rules botocore carries, and setting by setting."""

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import pytest
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from aiocreds._aws import endpoints
from aiocreds._aws.endpoints import (
    PARTITIONS,
    SERVICES,
    Endpoint,
    Partition,
    configured_url,
    endpoint_for,
    home_region,
    partition_named,
    partition_of,
    resolve,
)
from aiocreds.errors import InvalidConfiguration

LOADER = Loader()
ORACLE: dict[str, Any] = LOADER.load_data("partitions")
# Opened after the table was written, and names that no partition claims.
NEW_REGIONS = [
    "eu-north-9",
    "us-gov-north-1",
    "cn-south-1",
    "us-isob-west-7",
    "eusc-de-west-2",
    "nowhere-1",
    "x",
]
REGIONS = [region for data in ORACLE["partitions"] for region in data["regions"]] + NEW_REGIONS
STS = "https://sts.eu-west-1.amazonaws.com"


class Section:
    """A section of the config file, each key on a line of its own."""

    def __init__(self, settings: Mapping[str, str | Mapping[str, str]], first_line: int = 1) -> None:
        self._settings = settings
        self._lines = {key: line for line, key in enumerate(settings, first_line + 1)}

    def get(self, key: str) -> str | None:
        value = self._settings.get(key)
        return value if isinstance(value, str) else None

    def subsection(self, key: str) -> Mapping[str, str]:
        value = self._settings.get(key, {})
        return {} if isinstance(value, str) else value

    def where(self, key: str, nested: str | None = None) -> str:
        return f"config:{self._lines[key]}" + (f" > {nested}" if nested else "")


def found(environ: Mapping[str, str] | None = None, *, region: str = "eu-west-1", **options: Any) -> Endpoint:
    return endpoint_for("sts", region=region, environ=environ or {}, **options)


def refusal(environ: Mapping[str, str] | None = None, **options: Any) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        found(environ, **options)
    return str(caught.value)


# --- partitions --------------------------------------------------------------------------------------------


def test_the_table_of_partitions_is_botocores() -> None:
    def as_ours(data: dict[str, Any]) -> Partition:
        outputs = data["outputs"]
        return Partition(
            outputs["name"],
            outputs["dnsSuffix"],
            outputs["dualStackDnsSuffix"],
            outputs["implicitGlobalRegion"],
            data["regionRegex"],
            next((region for region in data["regions"] if region.endswith("-global")), None),
            outputs["supportsFIPS"],
            outputs["supportsDualStack"],
        )

    assert list(PARTITIONS) == [as_ours(data) for data in ORACLE["partitions"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("region", "name"),
    [(region, data["id"]) for data in ORACLE["partitions"] for region in data["regions"]]
    + [
        ("eu-north-9", "aws"),
        ("us-gov-north-1", "aws-us-gov"),
        ("eusc-de-west-2", "aws-eusc"),
        ("eusc-fr-west-2", "aws"),
        ("nowhere", "aws"),
        ("cn-north-1\n", "aws"),
    ],
)
def test_partition_of_a_region(region: str, name: str) -> None:
    assert partition_of(region).name == name


def test_partition_by_name() -> None:
    assert partition_named("aws-iso-f").dns_suffix == "csp.hci.ic.gov"
    assert partition_named("aws-moon").name == "aws"


@pytest.mark.parametrize(
    ("arn", "region"),
    [
        ("arn:aws:iam::123456789012:role/app", "us-east-1"),
        ("arn:aws-cn:iam::123456789012:role/app", "cn-northwest-1"),
        ("arn:aws-us-gov:iam::123456789012:role/app", "us-gov-west-1"),
        ("arn:aws-iso-e:iam::1:role/app", "eu-isoe-west-1"),
        ("arn:aws-eusc:iam::1:role/app", "eusc-de-east-1"),
        ("arn:aws-moon:iam::1:role/app", "us-east-1"),
        ("arn:aws-cn", "cn-northwest-1"),
        ("arn:", "us-east-1"),
        ("role/app", "us-east-1"),
        ("", "us-east-1"),
    ],
)
def test_home_region_of_an_arn(arn: str, region: str) -> None:
    assert home_region(arn) == region


# --- AWS's own endpoints -----------------------------------------------------------------------------------


def by_botocore(
    region: str, fips: bool, dualstack: bool, data: dict[str, Any] = ORACLE, service: str = "sts"
) -> Endpoint | None:
    provider = EndpointProvider(LOADER.load_service_model(service, "endpoint-rule-set-1"), data)
    parameters: dict[str, Any] = {"Region": region, "UseFIPS": fips, "UseDualStack": dualstack}
    if service == "sts":
        parameters["UseGlobalEndpoint"] = False
    try:
        answer = provider.resolve_endpoint(**parameters)
    except EndpointProviderError:
        return None
    schemes = answer.properties.get("authSchemes", [{}])
    return Endpoint(answer.url, schemes[0].get("signingRegion", region))


@pytest.mark.slow
@pytest.mark.parametrize("service", list(SERVICES))
@pytest.mark.parametrize(("fips", "dualstack"), list(product([False, True], repeat=2)))
def test_a_service_is_where_botocore_finds_it(service: str, fips: bool, dualstack: bool) -> None:
    for region in REGIONS:
        theirs = by_botocore(region, fips, dualstack, service=service)
        assert theirs is not None
        ours = resolve(service, region, use_fips=fips, use_dualstack=dualstack)
        assert ours.url == theirs.url
        assert ours.signing_region == ("us-east-1" if region == "aws-global" else theirs.signing_region)


@pytest.mark.parametrize(("fips", "dualstack"), list(product([False, True], repeat=2)))
@pytest.mark.parametrize(
    ("key", "crippled"),
    [
        ("supportsFIPS", PARTITIONS[0]._replace(supports_fips=False)),
        ("supportsDualStack", PARTITIONS[0]._replace(supports_dual_stack=False)),
    ],
)
def test_a_partition_may_lack_fips_or_dual_stack(
    key: str, crippled: Partition, fips: bool, dualstack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *rest = ORACLE["partitions"]
    data = {**ORACLE, "partitions": [{**first, "outputs": {**first["outputs"], key: False}}, *rest]}
    monkeypatch.setattr(endpoints, "PARTITIONS", (crippled, *PARTITIONS[1:]))

    theirs = by_botocore("eu-west-1", fips, dualstack, data)

    if theirs:
        assert resolve("sts", "eu-west-1", use_fips=fips, use_dualstack=dualstack) == theirs
    else:
        with pytest.raises(InvalidConfiguration, match=r"partition aws .*eu-west-1.* has no (FIPS|dual-stack)"):
            resolve("sts", "eu-west-1", use_fips=fips, use_dualstack=dualstack)


@pytest.mark.parametrize(
    ("region", "options", "host"),
    [
        ("eu-west-1", {}, "sts.eu-west-1.amazonaws.com"),
        ("aws-global", {}, "sts.amazonaws.com"),
        ("cn-north-1", {"use_fips": True}, "sts-fips.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", {"use_fips": True}, "sts.us-gov-west-1.amazonaws.com"),
        ("eusc-de-east-1", {"use_dualstack": True}, "sts.eusc-de-east-1.api.amazonwebservices.eu"),
        ("us-east-1", {"use_fips": True, "use_dualstack": True}, "sts-fips.us-east-1.api.aws"),
    ],
)
def test_hosts_by_hand(region: str, options: dict[str, Any], host: str) -> None:
    assert resolve("sts", region, **options).url == f"https://{host}"
    assert found(region=region, **options).url == f"https://{host}"


@pytest.mark.parametrize("options", [{}, {"use_fips": True}, {"endpoint_url": "http://localhost:4566"}])
def test_the_global_region_signs_as_us_east_1(options: dict[str, Any]) -> None:
    assert found(region="aws-global", **options).signing_region == "us-east-1"


@pytest.mark.parametrize(
    "region",
    [
        "",
        " ",
        "evil.com/#",
        "evil.com",
        "us-east-1\n",
        "us-east-1/",
        "a b",
        "-x",
        "x-",
        "é",
        "a" * 64,
        "{region}",
        "٣",
    ],
)
@pytest.mark.parametrize("options", [{}, {"endpoint_url": "http://localhost:4566"}])
def test_a_region_that_is_no_host_label_is_refused(region: str, options: dict[str, Any]) -> None:
    message = refusal(region=region, **options)

    assert repr(region) in message
    assert "eu-central-1" in message


@pytest.mark.slow
@given(st.text(max_size=20))
def test_a_region_never_changes_the_domain(region: str) -> None:
    try:
        url = resolve("sts", region).url
    except InvalidConfiguration:
        return
    assert URL(url).host == f"sts.{region}.{partition_of(region).dns_suffix}".lower()


# --- configured endpoints ----------------------------------------------------------------------------------

LAYERS = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "services", "endpoint_url"]


def configured(layers: set[str]) -> tuple[dict[str, str], Section, dict[str, Section]]:
    environ = {name: f"https://{name.lower().replace('_', '-')}.test" for name in LAYERS[:2] if name in layers}
    profile: dict[str, str] = {}
    if "services" in layers:
        profile["services"] = "local"
    if "endpoint_url" in layers:
        profile["endpoint_url"] = "https://profile.test"
    services = {
        "local": Section(
            {"s3": {"endpoint_url": "https://s3.test"}, "sts": {"endpoint_url": "https://section.test"}}
        )
    }
    return environ, Section(profile), services


@pytest.mark.parametrize("chosen", list(product([False, True], repeat=4)))
def test_the_order_is_botocores(chosen: tuple[bool, ...]) -> None:
    environ, profile, services = configured({name for name, on in zip(LAYERS, chosen, strict=True) if on})
    theirs = ConfiguredEndpointProvider(
        full_config={"services": {"local": {"sts": services["local"].subsection("sts")}}},
        scoped_config={key: value for key in ("services", "endpoint_url") if (value := profile.get(key))},
        client_name="sts",
        environ=environ,
    ).provide()

    ours = configured_url("sts", environ=environ, profile=profile, services=services)

    assert (ours.value if ours else None) == theirs
    assert found(environ, profile=profile, services=services).url == (theirs or STS)


def test_the_argument_goes_first() -> None:
    environ, profile, services = configured(set(LAYERS))

    endpoint = found(environ, endpoint_url="http://localhost:4566", profile=profile, services=services)

    assert endpoint == Endpoint("http://localhost:4566", "eu-west-1")


def test_a_services_section_may_be_about_other_services() -> None:
    profile = Section({"services": "local", "endpoint_url": "https://profile.test"})
    services = {"local": Section({"s3": {"endpoint_url": "https://s3.test"}, "sts": {"other": "x"}})}

    assert found(profile=profile, services=services).url == "https://profile.test"


@pytest.mark.parametrize("service", list(SERVICES))
def test_variable_and_key_are_named_for_the_service_as_in_botocore(service: str) -> None:
    key = service.replace("-", "_")
    variable = f"AWS_ENDPOINT_URL_{key.upper()}"
    environ = {variable: f"https://{service}.test"}
    profile = Section({"services": "local"})
    services = {"local": Section({key: {"endpoint_url": f"https://section.{service}.test"}})}
    for variables in (environ, {}):
        theirs = ConfiguredEndpointProvider(
            full_config={"services": {"local": {key: services["local"].subsection(key)}}},
            scoped_config={"services": "local"},
            client_name=service,
            environ=variables,
        ).provide()

        ours = configured_url(service, environ=variables, profile=profile, services=services)

        assert ours is not None
        assert ours.value == theirs
    assert configured_url(service, environ=environ) == (f"https://{service}.test", variable)


def test_a_blank_variable_counts_as_unset() -> None:
    assert found({"AWS_ENDPOINT_URL_STS": "", "AWS_ENDPOINT_URL": "https://all.test"}).url == "https://all.test"
    assert found({"AWS_ENDPOINT_URL": "  "}).url == STS


@pytest.mark.parametrize("services", [None, {}, {"other": Section({})}])
def test_a_services_section_that_is_missing_is_an_error(services: dict[str, Section] | None) -> None:
    profile = Section({"region": "eu-west-1", "services": "local"})

    message = refusal(profile=profile, services=services)

    assert message.startswith("config:3 names a section [services local] that does not exist: ")
    # As in botocore, nothing looks for it while a variable says where to go.
    assert found({"AWS_ENDPOINT_URL": "https://all.test"}, profile=profile, services=services)


@pytest.mark.parametrize("value", ["true", "TRUE", "1"])
def test_configured_endpoints_can_be_ignored(value: str) -> None:
    environ, profile, services = configured(set(LAYERS))
    off = {**environ, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": value}

    assert found(off, profile=profile, services=services).url == STS
    assert (
        found(profile=Section({"endpoint_url": "https://p.test", "ignore_configured_endpoint_urls": value})).url
        == STS
    )
    assert found(off, endpoint_url="https://given.test").url == "https://given.test"


def test_the_environment_can_undo_what_the_profile_ignores() -> None:
    profile = Section({"ignore_configured_endpoint_urls": "true"})
    environ = {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false", "AWS_ENDPOINT_URL": "https://all.test"}

    assert found(environ, profile=profile).url == "https://all.test"


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("http://localhost:4566", "http://localhost:4566"),
        ("http://localhost:4566/", "http://localhost:4566"),
        ("https://proxy.test/aws/sts", "https://proxy.test/aws/sts"),
        ("https://proxy.test/aws//", "https://proxy.test/aws/"),
        ("http://[::1]:4566", "http://[::1]:4566"),
        ("http://sts_mock:80/%7Ex", "http://sts_mock:80/%7Ex"),
        ("HTTPS://Sts.Test", "HTTPS://Sts.Test"),
    ],
)
def test_a_custom_endpoint_keeps_its_path(given_url: str, url: str) -> None:
    assert found(endpoint_url=given_url).url == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "blank"),
        ("http://h\n", "character"),
        ("http://h\x7f", "character"),
        ("http://h/ x", "character"),
        ("http://bücher.test", "character"),
        ("localhost:4566", "scheme"),
        ("ftp://h", "scheme"),
        ("//h", "scheme"),
        ("http://", "host"),
        ("http:///path", "host"),
        ("http://h%2e", "host"),
        ("http://h\\x", "host"),
        ("http://h:0", "host"),
        ("http://h:99999", "not a URL"),
        ("http://h:x", "not a URL"),
        ("http://[::1", "not a URL"),
        ("http://user:hunter2@h", "user name"),
        ("http://@h", "user name"),
        ("http://h?a=hunter2", "query"),
        ("http://h?", "query"),
        ("http://h#hunter2", "query"),
    ],
)
def test_a_url_that_is_no_endpoint_is_refused(url: str, fault: str) -> None:
    message = refusal(endpoint_url=url)

    assert message.startswith("endpoint_url= ")
    assert fault in message
    assert "hunter2" not in message


def test_a_refusal_names_the_place() -> None:
    profile = Section({"region": "eu-west-1", "services": "local"})
    services = {"local": Section({"s3": {}, "sts": {"endpoint_url": "ftp://h"}}, 10)}

    assert refusal({"AWS_ENDPOINT_URL_STS": "ftp://h"}).startswith("AWS_ENDPOINT_URL_STS has")
    assert refusal(profile=Section({"endpoint_url": "ftp://h"})).startswith("endpoint_url (config:2) has")
    assert refusal(profile=profile, services=services).startswith("endpoint_url (config:12 > endpoint_url) has")


# --- FIPS and dual-stack -----------------------------------------------------------------------------------


class Switch(NamedTuple):
    argument: str
    variable: str
    key: str
    kind: str
    url: str

    def given(self, on: bool) -> dict[str, Any]:
        return {self.argument: on}

    def profile(self, text: str) -> Section:
        return Section({self.key: text})


FIPS = Switch(
    "use_fips",
    "AWS_USE_FIPS_ENDPOINT",
    "use_fips_endpoint",
    "FIPS",
    "https://sts-fips.eu-west-1.amazonaws.com",
)
DUAL_STACK = Switch(
    "use_dualstack",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "use_dualstack_endpoint",
    "dual-stack",
    "https://sts.eu-west-1.api.aws",
)
switches = pytest.mark.parametrize("switch", [FIPS, DUAL_STACK], ids=["fips", "dualstack"])


@switches
@pytest.mark.parametrize("text", ["true", "True", "1", " TRUE "])
def test_a_switch_is_found(switch: Switch, text: str) -> None:
    assert found(**switch.given(True)).url == switch.url
    assert found({switch.variable: text}).url == switch.url
    assert found(profile=switch.profile(text)).url == switch.url


@switches
def test_the_nearest_switch_wins(switch: Switch) -> None:
    on, off = switch.profile("true"), switch.profile("false")

    assert found({switch.variable: "0"}, profile=on).url == STS
    assert found({switch.variable: ""}, profile=on).url == switch.url
    assert found({switch.variable: "true"}, profile=off).url == switch.url
    assert found({switch.variable: "true"}, profile=on, **switch.given(False)).url == STS
    assert found({switch.variable: "false"}, **switch.given(True)).url == switch.url


@switches
def test_a_switch_that_is_neither_on_nor_off_is_refused(switch: Switch) -> None:
    assert refusal({switch.variable: "yes"}) == f"{switch.variable} is 'yes': write true or false"
    message = refusal(profile=switch.profile("yes"))
    assert message == f"{switch.key} (config:2) is 'yes': write true or false"


@switches
def test_a_custom_endpoint_does_not_silently_replace_it(switch: Switch) -> None:
    profile = Section({switch.key: "true", "endpoint_url": "https://profile.test"})
    custom = {"AWS_ENDPOINT_URL": "https://all.test"}

    assert refusal(custom, profile=profile) == (
        f"AWS_ENDPOINT_URL sets the endpoint of sts and {switch.key} (config:2) asks for {switch.kind}, "
        "which would be lost: drop one of the two"
    )
    assert "endpoint_url (config:3)" in refusal(profile=profile)
    assert f"{switch.argument}=True" in refusal(custom, **switch.given(True))
    assert switch.variable in refusal({switch.variable: "1"}, endpoint_url="https://given.test")
    assert found(custom, profile=profile, **switch.given(False)).url == "https://all.test"
    ignored = {**custom, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert found(ignored, profile=profile).url == switch.url


def test_fips_and_dual_stack_go_together() -> None:
    environ = {FIPS.variable: "true", DUAL_STACK.variable: "true"}

    assert found(environ).url == "https://sts-fips.eu-west-1.api.aws"
