"""Set-ups as people bring them along: what is wrong, and what ``aiocreds explain`` must say about it at once.

Each function prepares a machine; its docstring is the story, and heads the golden file.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.helpers.loopback_aws import CONTAINER_PATH, ROLES_PATH, TOKEN_PATH, Answer, Hang, sts_error
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.helpers.loopback_aws import Loopback

ROLE = "arn:aws:iam::123456789012:role/app"
KEY = "AKIAIOSFODNN7EXAMPLE"
PORTAL = f"sso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
SESSION = f"[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = {START_URL}\n"


@dataclass
class Machine:
    """What a case may change.

    Attributes:
        home: the home folder.
        environ: the environment; it points to `aws`, and metadata is switched off.
        aws: an AWS on loopback.
        deaf: the URL of a port that refuses connections.
        patch: undone after the test.
    """

    home: Path
    environ: dict[str, str]
    aws: Loopback
    deaf: str
    patch: pytest.MonkeyPatch

    def config(self, text: str) -> None:
        """Write ``~/.aws/config``."""
        (self.home / ".aws/config").write_text(text)

    def credentials(self, text: str) -> None:
        """Write ``~/.aws/credentials``."""
        (self.home / ".aws/credentials").write_text(text)

    def keys(self, key: str = KEY, secret_key: str = "", token: str | None = None) -> str:
        """Put keys into the environment; return their secret."""
        secret_key = secret_key or secret()
        self.environ |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret_key}
        if token:
            self.environ["AWS_SESSION_TOKEN"] = token
        return secret_key

    def static(self, name: str = "base") -> str:
        """A profile with static keys, for the credentials file."""
        return f"[{name}]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret()}\n"

    def program(self, text: str) -> str:
        """A program, as the value of a ``credential_process``."""
        path = self.home / "vend"
        path.write_text(f"#!{sys.executable}\nimport json, sys, time\n{text}\n")
        path.chmod(0o755)
        return "~/vend --for app"

    def metadata(self) -> None:
        """Switch instance metadata on."""
        del self.environ["AWS_EC2_METADATA_DISABLED"]


@dataclass(frozen=True)
class Case:
    """A set-up.

    Attributes:
        prepare: makes it.
        cause: what the first screen has to say.
        code: the exit status.
        options: of the command.
    """

    prepare: Callable[[Machine], None]
    cause: str
    code: int = 2
    options: dict[str, Any] = field(default_factory=dict[str, Any])


CASES: dict[str, Case] = {}


def case(
    cause: str, code: int = 2, **options: Any
) -> Callable[[Callable[[Machine], None]], Callable[[Machine], None]]:
    """Register a set-up under the name of its function."""

    def register(prepare: Callable[[Machine], None]) -> Callable[[Machine], None]:
        CASES[prepare.__name__] = Case(prepare, cause, code, options)
        return prepare

    return register


# The environment.


@case("none of the 4 sources has any", 1)
def nothing_at_all(machine: Machine) -> None:
    """A machine on which nobody has configured anything."""


@case("AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not")
def half_a_key(machine: Machine) -> None:
    """The secret key was lost when the variables were copied."""
    machine.environ["AWS_ACCESS_KEY_ID"] = KEY


@case("AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not")
def other_half_of_a_key(machine: Machine) -> None:
    """The key id is blank, as CI systems make of a secret that is not there."""
    machine.keys(key=" ")


@case("the keys in AWS_ACCESS_KEY_ID expired at")
def expired_keys(machine: Machine) -> None:
    """Keys that were exported into this shell some hours ago."""
    machine.keys(token=secret("token"))
    machine.environ["AWS_CREDENTIAL_EXPIRATION"] = "2020-01-01T00:00:00Z"


@case("AWS_CREDENTIAL_EXPIRATION is not an ISO 8601 time")
def unreadable_expiration(machine: Machine) -> None:
    """A script wrote the expiration in words."""
    machine.keys()
    machine.environ["AWS_CREDENTIAL_EXPIRATION"] = "in an hour"


@case("AWS_SESSION_TOKEN is not set: AWS will refuse it")
def forgotten_session_token(machine: Machine) -> None:
    """Temporary keys were copied without their session token."""
    key = "ASIAIOSFODNN7EXAMPLE"
    machine.aws.secrets[key] = (machine.keys(key=key), secret("token"))


@case("these keys do not exist (any more)")
def deleted_keys(machine: Machine) -> None:
    """The keys were deleted in IAM, and this shell still has them."""
    machine.keys()
    machine.aws.secrets["AKIAOTHER"] = (secret(), None)


@case("the secret key does not belong to its key id")
def wrong_secret_key(machine: Machine) -> None:
    """The key id of one pair, the secret of another."""
    machine.keys()
    machine.aws.secrets[KEY] = (secret(), None)


@case("InvalidConfiguration", json=True)
def half_a_key_as_json(machine: Machine) -> None:
    """Half a key pair, for a program to read."""
    machine.environ["AWS_ACCESS_KEY_ID"] = KEY


@case("hide AWS_PROFILE=app", 0)
def keys_that_hide_the_profile(machine: Machine) -> None:
    """AWS_PROFILE is set and has no effect: keys in the environment come before it."""
    machine.keys()
    machine.environ["AWS_PROFILE"] = "app"
    machine.credentials(machine.static("app"))


@case("the keys in AWS_ACCESS_KEY_ID are not looked at", 0, profile="app")
def profile_that_hides_the_keys(machine: Machine) -> None:
    """A program names its profile, and ignores the keys in the environment."""
    machine.keys()
    machine.credentials(machine.static("app"))


@case("AWS_REGION=eu-central-1 and AWS_DEFAULT_REGION=us-east-1 disagree", 0)
def two_regions(machine: Machine) -> None:
    """Two variables name two regions, and not all SDKs read the same one."""
    machine.keys()
    machine.environ["AWS_DEFAULT_REGION"] = "us-east-1"


@case("AWS_REGION=eu-central-1 overrides the profile's region eu-west-1", 0)
def region_beside_the_profile(machine: Machine) -> None:
    """The profile's region has no effect: a variable names another."""
    machine.config("[default]\nregion = eu-west-1\n")
    machine.credentials(machine.static("default"))


@case("and the web identity is not used: from_env comes before it", 0)
def keys_that_hide_the_pod(machine: Machine) -> None:
    """A pod on EKS with a role of its own, and keys that were baked into its image."""
    machine.keys()
    machine.environ |= {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token", "AWS_ROLE_ARN": ROLE}


@case("the relative one is used", 2)
def two_agents(machine: Machine) -> None:
    """Two variables name two agents, and the one that counts is no path."""
    machine.environ |= {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "v2/credentials",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": machine.aws.url + CONTAINER_PATH,
    }


# Profiles.


@case("did you mean 'production'?")
def misspelt_profile(machine: Machine) -> None:
    """A typing error in AWS_PROFILE."""
    machine.environ["AWS_PROFILE"] = "prodcution"
    machine.credentials(machine.static("production"))


@case("has to be [profile app] in this file", profile="app")
def header_without_profile(machine: Machine) -> None:
    """In the config file a section is called [profile app], not [app]."""
    machine.config(f"[app]\nrole_arn = {ROLE}\nsource_profile = base\n")
    machine.credentials(machine.static())


@case("there are 'app', 'base': name one in AWS_PROFILE", 1)
def no_default_profile(machine: Machine) -> None:
    """There are profiles, but no default one, and nobody names any."""
    machine.credentials(machine.static("app") + machine.static("base"))


@case("has aws_access_key_id (~/.aws/credentials:2) but no aws_secret_access_key")
def half_a_key_in_a_profile(machine: Machine) -> None:
    """Half a key pair in the credentials file."""
    machine.credentials(f"[default]\naws_access_key_id = {KEY}\n")


@case("a → b → a need each other in a circle", profile="a")
def circle(machine: Machine) -> None:
    """Two roles, each with the other as its source."""
    role = "[profile {}]\nrole_arn = {}\nsource_profile = {}\n"
    machine.config(role.format("a", ROLE, "b") + role.format("b", ROLE, "a"))


@case("there is no such profile; did you mean 'base'?", profile="app")
def missing_source_profile(machine: Machine) -> None:
    """The source of a role is a profile that is not there."""
    machine.config(f"[profile app]\nrole_arn = {ROLE}\nsource_profile = bose\n")
    machine.credentials(machine.static())


@case("but no source for it: add source_profile", profile="app")
def role_without_a_source(machine: Machine) -> None:
    """A role, and nothing to say whose credentials it is assumed with."""
    machine.config(f"[profile app]\nrole_arn = {ROLE}\n")


@case("has both source_profile", profile="app")
def role_with_two_sources(machine: Machine) -> None:
    """A role with a source profile and a credential source."""
    machine.config(f"[profile app]\nrole_arn = {ROLE}\nsource_profile = base\ncredential_source = Environment\n")
    machine.credentials(machine.static())


@case("has an unknown credential_source (~/.aws/config:3)", profile="app")
def unknown_credential_source(machine: Machine) -> None:
    """A credential source that no SDK knows."""
    machine.config(f"[profile app]\nrole_arn = {ROLE}\ncredential_source = Ec2Instance\n")


@case("credential_source = Environment (~/.aws/config:3), which has no credentials", profile="app")
def empty_credential_source(machine: Machine) -> None:
    """A role is to be assumed with the keys in the environment, and there are none."""
    machine.config(f"[profile app]\nrole_arn = {ROLE}\ncredential_source = Environment\n")


@case("~/.aws/config:2: Section definition must end with ']'")
def broken_config_file(machine: Machine) -> None:
    """A bracket is missing; nothing in the file may be trusted."""
    machine.config("[default]\n[profile app\nregion = eu-central-1\n")


@case("cannot be read (is a directory)")
def unreadable_config_file(machine: Machine) -> None:
    """AWS_CONFIG_FILE names a folder: a volume was mounted where the file should be."""
    machine.environ["AWS_CONFIG_FILE"] = str(machine.home / ".aws")


@case("a duration_seconds that is no whole number (~/.aws/config:4)", profile="app")
def wrong_duration(machine: Machine) -> None:
    """A duration with its unit."""
    machine.config(f"[profile app]\nrole_arn = {ROLE}\nsource_profile = base\nduration_seconds = 1h\n")
    machine.credentials(machine.static())


@case("~/.aws/config:2: aws_access_key_id is not used: ~/.aws/credentials:2 comes first", 0)
def keys_in_both_files(machine: Machine) -> None:
    """Fresh keys went into one file, and the old ones in the other still win."""
    machine.config(machine.static("default").replace(KEY, "AKIAI44QH8DHBEXAMPLE"))
    machine.credentials(machine.static("default"))


@case("~/.aws/config:5: credential_process is not used: sso_session comes first", 0, profile="app")
def two_ways_in_one_profile(machine: Machine) -> None:
    """A profile was moved to SSO, and the process that it had before was left in it."""
    machine.config(f"[profile app]\nsso_session = corp\n{PORTAL}credential_process = /opt/bin/vend\n{SESSION}")
    machine.aws.sign_in.sso_login(machine.home)


# IAM Identity Center and aws login.


@case("there is no readable sign-in in", profile="app")
def never_signed_in(machine: Machine) -> None:
    """An SSO profile on a machine where nobody has signed in yet."""
    machine.config(f"[profile app]\nsso_session = corp\n{PORTAL}{SESSION}")


@case("run aws sso login --sso-session corp", profile="app")
def sign_in_ended(machine: Machine) -> None:
    """The sign-in ended last week, and so has the registration that could renew it."""
    machine.config(f"[profile app]\nsso_session = corp\n{PORTAL}{SESSION}")
    ended = f"{datetime.now(UTC) - timedelta(days=7):%Y-%m-%dT%H:%M:%SZ}"
    machine.aws.sign_in.sso_login(machine.home, expiresAt=ended, registered=timedelta(days=-7))


@case("the sign-in can be renewed no more: run aws sso login --sso-session corp", profile="app")
def sign_in_revoked(machine: Machine) -> None:
    """Somebody signed out in the browser: the cached sign-in has ended and its renewal is refused."""
    machine.config(f"[profile app]\nsso_session = corp\n{PORTAL}{SESSION}")
    ended = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    machine.aws.sign_in.sso_login(machine.home, expiresAt=ended, refreshToken=secret("other"))


@case("there is no readable sign-in in", profile="app")
def corrupted_sign_in(machine: Machine) -> None:
    """The cached sign-in was cut short when the disk was full."""
    machine.config(f"[profile app]\nsso_session = corp\n{PORTAL}{SESSION}")
    path = machine.aws.sign_in.sso_login(machine.home)
    path.write_text(path.read_text()[:40])


@case("but no sso_role_name: add it", profile="app")
def half_configured_sso(machine: Machine) -> None:
    """The permission set is missing from an SSO profile."""
    machine.config(f"[profile app]\nsso_session = corp\nsso_account_id = {ACCOUNT}\n{SESSION}")


@case("have different values for sso_region", profile="app")
def contradicting_sso(machine: Machine) -> None:
    """Profile and session name two regions."""
    machine.config(f"[profile app]\nsso_session = corp\nsso_region = us-east-1\n{PORTAL}{SESSION}")


@case("names an [sso-session crop] that is not in ~/.aws/config", profile="app")
def missing_sso_session(machine: Machine) -> None:
    """A typing error in the name of the session."""
    machine.config(f"[profile app]\nsso_session = crop\n{PORTAL}{SESSION}")


@case("the person who signed in has no such role there", profile="app")
def sso_role_not_assigned(machine: Machine) -> None:
    """The person has signed in, but nobody has assigned that permission set to them."""
    machine.config(f"[profile app]\nsso_session = corp\n{PORTAL}{SESSION}")
    machine.aws.sign_in.sso_login(machine.home)
    machine.aws.sign_in.roles.clear()


LOGIN = f"[profile me]\nlogin_session = {LOGIN_SESSION}\nregion = eu-central-1\n"


@case("run aws login --profile me", profile="me")
def never_logged_in(machine: Machine) -> None:
    """A profile of `aws login`, whose cached keys somebody has deleted."""
    machine.config(LOGIN)


@case("aws login --profile me", profile="me")
def login_ended(machine: Machine) -> None:
    """The twelve hours of `aws login` are over."""
    machine.config(LOGIN)
    machine.aws.sign_in.keys_life = timedelta(hours=-2)
    machine.aws.sign_in.login(machine.home)
    machine.aws.sign_in.refusal = "TOKEN_EXPIRED"


@case("aws login --profile me", profile="me")
def password_changed(machine: Machine) -> None:
    """The password was changed since `aws login`."""
    machine.config(LOGIN)
    machine.aws.sign_in.keys_life = timedelta(hours=-2)
    machine.aws.sign_in.login(machine.home)
    machine.aws.sign_in.refusal = "USER_CREDENTIALS_CHANGED"


@case("pip install 'aiocreds[login]'", profile="me")
def login_without_its_extra(machine: Machine) -> None:
    """The library that renews what `aws login` brought is not installed."""
    machine.config(LOGIN)
    machine.aws.sign_in.login(machine.home)
    machine.patch.setattr("aiocreds.sources.login.dpop.can_prove", lambda: False)


# Web identity.


@case("does not exist: correct the path, or mount it")
def missing_token_file(machine: Machine) -> None:
    """A pod whose service account token is not mounted."""
    machine.environ |= {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/no/token", "AWS_ROLE_ARN": ROLE}


@case("is empty: look at what should write it")
def empty_token_file(machine: Machine) -> None:
    """A token file that nothing has filled."""
    path = machine.home / "token"
    path.touch()
    machine.environ |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": ROLE}


@case("names a token file, but there is no role for it: set AWS_ROLE_ARN")
def token_file_without_a_role(machine: Machine) -> None:
    """One of the two variables is missing."""
    path = machine.home / "token"
    path.write_text(secret("token"))
    machine.environ["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(path)


@case("check that the account has an IAM identity provider with the token's issuer and audience")
def unknown_identity_provider(machine: Machine) -> None:
    """A job with a good token, in an account that has never heard of its issuer."""
    claims = {
        "iss": "https://token.actions.githubusercontent.com",
        "aud": "sts.amazonaws.com",
        "sub": "repo:corp/app:ref:refs/heads/main",
        "exp": (datetime.now(UTC) + timedelta(minutes=5)).timestamp(),
    }
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    path = machine.home / "token"
    path.write_text(f"e30.{part}.{secret('signature')}")
    machine.environ |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": ROLE}
    machine.aws.web_tokens.add(secret("token"))


# Containers and instances.


@case("refused the connection (3 attempts); check the address, and that it runs")
def dead_agent(machine: Machine) -> None:
    """The agent that hands out credentials has died."""
    machine.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{machine.deaf}/creds"


@case("HTTP 401: check the token in AWS_CONTAINER_AUTHORIZATION_TOKEN")
def wrong_agent_token(machine: Machine) -> None:
    """The agent wants another token."""
    machine.aws.container_token = secret("right")
    machine.environ |= {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": machine.aws.url + CONTAINER_PATH,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": secret("wrong"),
    }


@case("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE) does not exist")
def missing_agent_token(machine: Machine) -> None:
    """The agent's token file is not mounted."""
    machine.environ |= {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": machine.aws.url + CONTAINER_PATH,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/secrets/no/token",
    }


@case("plain http is for loopback and the ECS and EKS agents")
def agent_on_another_machine(machine: Machine) -> None:
    """Credentials would go over the network unencrypted."""
    machine.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://vault.corp.example/creds"


@case("attach an instance profile to this instance", 1)
def instance_without_a_role(machine: Machine) -> None:
    """An EC2 instance that nobody has given a role."""
    machine.metadata()
    machine.aws.always(ROLES_PATH, Answer(404))


@case("raise the instance's HttpPutResponseHopLimit to 2")
def hop_limit(machine: Machine) -> None:
    """A container on EC2: the answer to the token request is one hop too far away, and v1 is off."""
    machine.metadata()
    machine.aws.always(TOKEN_PATH, Hang())


@case("no metadata service answers at http://127.0.0.1:", 1)
def no_metadata_service(machine: Machine) -> None:
    """Metadata is asked for where there is none."""
    machine.metadata()
    machine.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = machine.deaf


@case("is in trouble; asking again later may help")
def metadata_in_trouble(machine: Machine) -> None:
    """The metadata service answers, but not with credentials."""
    machine.metadata()
    machine.aws.always(ROLES_PATH, Answer(503))


# Processes.


@case("ended with exit status 3; run it by hand to see why", profile="app")
def failing_process(machine: Machine) -> None:
    """A credential process that gives up."""
    command = machine.program(f"print({secret()!r}, file=sys.stderr)\nsys.exit(3)")
    machine.config(f"[profile app]\ncredential_process = {command}\n")


@case("something that is not JSON", profile="app")
def chatting_process(machine: Machine) -> None:
    """A credential process that greets before it prints."""
    command = machine.program(f"print('Welcome!', {secret()!r})")
    machine.config(f"[profile app]\ncredential_process = {command}\n")


@case("write sh -c '…'", profile="app")
def process_in_shell_words(machine: Machine) -> None:
    """A credential process that was written for a shell."""
    machine.config("[profile app]\ncredential_process = VAULT=corp vend --json | jq .creds\n")


@case("vend is not there, or the interpreter in its first line is not", profile="app")
def missing_program(machine: Machine) -> None:
    """The program of a credential process is not installed here."""
    machine.config("[profile app]\ncredential_process = /opt/bin/vend --for app\n")


@case("did not finish within 0.5 s and was killed", profile="app", process_timeout=0.5)
def slow_process(machine: Machine) -> None:
    """A credential process that waits for somebody."""
    machine.config(f"[profile app]\ncredential_process = {machine.program('time.sleep(30)')}\n")


@case("handed out credentials that expired at 2020-01-01", profile="app")
def process_with_old_keys(machine: Machine) -> None:
    """A credential process that prints what it has cached for too long."""
    keys = {
        "Version": 1,
        "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "SecretAccessKey": secret(),
        "SessionToken": secret("token"),
        "Expiration": "2020-01-01T00:00:00Z",
    }
    machine.config(f"[profile app]\ncredential_process = {machine.program(f'print({json.dumps(keys)!r})')}\n")


# STS.

APP = f"[profile app]\nrole_arn = {ROLE}\nsource_profile = base\n"


@case("AccessDenied: User is not authorized to perform: sts:AssumeRole", profile="app")
def role_refused(machine: Machine) -> None:
    """The role does not trust this user."""
    machine.config(APP)
    machine.credentials(machine.static())
    machine.aws.always("/", sts_error("AccessDenied", "User is not authorized to perform: sts:AssumeRole"))


@case("external id if it needs one", profile="app")
def wrong_external_id(machine: Machine) -> None:
    """The role is in another account, whose owner has changed the external id."""
    machine.config(f"{APP}external_id = old-id\n")
    machine.credentials(machine.static())
    machine.aws.always("/", sts_error("AccessDenied", "User is not authorized to perform: sts:AssumeRole"))


@case("an MFA code of arn:aws:iam::123456789012:mfa/me is needed, and nobody at a terminal gave one", profile="app")
def mfa_without_anybody(machine: Machine) -> None:
    """A role that wants an MFA code, in a job that nobody watches."""
    machine.config(f"{APP}mfa_serial = arn:aws:iam::123456789012:mfa/me\n")
    machine.credentials(machine.static())


@case("refused the connection (3 attempts); check the address, and that it runs; asked STS", profile="app")
def unreachable_endpoint(machine: Machine) -> None:
    """A VPC endpoint that is not there any more is still configured."""
    machine.config(APP)
    machine.credentials(machine.static())
    machine.environ["AWS_ENDPOINT_URL_STS"] = machine.deaf


@case("asks for FIPS, which would be lost: drop one of the two", profile="app")
def fips_with_an_endpoint(machine: Machine) -> None:
    """FIPS is asked for, and an endpoint of its own is configured that would silently do without."""
    machine.config(f"{APP}use_fips_endpoint = true\n")
    machine.credentials(machine.static())


@case("[services local] that does not exist", profile="app")
def missing_services_section(machine: Machine) -> None:
    """The profile names a services section that is not there."""
    del machine.environ["AWS_ENDPOINT_URL_STS"]
    machine.config(f"{APP}services = local\n")
    machine.credentials(machine.static())


@case("these credentials have expired", profile="old")
def expired_static_keys(machine: Machine) -> None:
    """Somebody has pasted temporary keys into the credentials file, yesterday."""
    key = "ASIAIOSFODNN7EXAMPLE"
    machine.credentials(
        f"[old]\naws_access_key_id = {key}\naws_secret_access_key = {secret()}\naws_session_token = {secret()}\n"
    )
    machine.aws.expired.add(key)


@case("STS (127.0.0.1:", profile="app")
def sts_in_trouble(machine: Machine) -> None:
    """STS answers every request with 503."""
    machine.config(APP)
    machine.credentials(machine.static())
    machine.aws.always("/", Answer(503))


@case("this machine's clock is", 0, profile="app")
def wrong_clock(machine: Machine) -> None:
    """This machine's clock is an hour behind; a program that does not notice is refused."""
    machine.config(APP)
    machine.credentials(machine.static())
    machine.aws.clock = timedelta(hours=1)


@case("answered with nothing", profile="app")
def proxy_in_between(machine: Machine) -> None:
    """Something in between answers for the SSO portal."""
    machine.config(f"[profile app]\nsso_session = corp\n{PORTAL}{SESSION}")
    machine.aws.sign_in.sso_login(machine.home)
    machine.aws.always("/federation/credentials", Answer(200))


# What works, for comparison.


@case("shared files (from_ini) wins", 0, profile="app")
def role_from_a_sign_in(machine: Machine) -> None:
    """Nothing is wrong: a role, assumed with what a person signed in for."""
    machine.config(
        f"[profile app]\nrole_arn = {ROLE}\nsource_profile = dev\nregion = eu-central-1\n"
        f"[profile dev]\nsso_session = corp\n{PORTAL}{SESSION}"
    )
    machine.aws.sign_in.sso_login(machine.home)


@case("EC2 instance metadata (from_instance_metadata) wins", 0, offline=True)
def instance(machine: Machine) -> None:
    """Nothing is wrong: an EC2 instance with a role, and STS is not asked."""
    machine.metadata()


@case("container agent (from_container_metadata) wins", 0)
def container(machine: Machine) -> None:
    """Nothing is wrong: a container with its agent."""
    machine.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = machine.aws.url + CONTAINER_PATH
