"""``aiocreds eks-token``: print a token for the Kubernetes API of a cluster, as ``aws eks get-token`` does.

See https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html and
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from aiocreds.cli._common import add_profile, asking_for, iso, offer_to_sign_in, provider_of, region_of
from aiocreds.cli._terminal import print_message, run_interruptible
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from aiocreds.tokens import Token

EXEC_INFO = "KUBERNETES_EXEC_INFO"
GROUP = "client.authentication.k8s.io"
VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1", f"{GROUP}/v1alpha1")
USUAL_VERSION = f"{GROUP}/v1beta1"  # AWS CLI's
SESSION_NAME = "EKSGetTokenAuth"  # AWS CLI's, which access policies may name
EXAMPLE = """\
example:
  aiocreds eks-token --cluster books

  # in kubeconfig:
  users:
  - name: books
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: aiocreds
        args: [eks-token, --cluster, books, --region, eu-central-1]
        interactiveMode: IfAvailable

The output holds a secret. Exit status: 0, 1 (no credentials), 2 (found, but broken).
"""


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = "Print a token for the Kubernetes API of an EKS cluster, as an ExecCredential (JSON)."
    parser.epilog = EXAMPLE
    add_profile(parser)
    parser.add_argument(
        "--cluster", "--cluster-name", metavar="NAME", required=True, help="the cluster's name; on Outposts its id"
    )
    parser.add_argument(
        "--region", metavar="R", help="the cluster's; by default the environment's or the profile's"
    )
    parser.add_argument("--role-arn", metavar="ARN", help="a role to assume first")


def run(arguments: Namespace) -> int:
    """Print the token.

    Raises:
        CredentialsError: there are no credentials, or the region is not known.
    """

    async def make() -> Token:
        from aiocreds.tokens import eks_token  # the other commands make no tokens

        provider = provider_of(
            arguments.profile, process_timeout=arguments.process_timeout, sign_in=offer_to_sign_in
        )
        region = arguments.region or await region_of(arguments.profile)
        if not region:
            raise InvalidConfiguration(
                "the region of the cluster is not known: pass --region, set AWS_REGION, or give the profile one"
            )
        if arguments.role_arn is not None:
            if not arguments.role_arn.strip():  # a variable that is not set must not mean another identity
                raise InvalidConfiguration("--role-arn is blank: give the ARN of a role, or leave the option out")
            from aiocreds._aws.client import ClientConfig
            from aiocreds.sources.assume_role import from_temporary_credentials

            provider = from_temporary_credentials(
                source=provider,
                role_arn=arguments.role_arn,
                role_session_name=SESSION_NAME,
                client=ClientConfig(region=region),
            )
        return await eks_token(provider, arguments.cluster, region)()

    with asking_for(arguments.profile):
        token = run_interruptible(make())
    document = {
        "kind": "ExecCredential",
        "apiVersion": _version(os.environ.get(EXEC_INFO, "")),
        "spec": {},
        "status": {"expirationTimestamp": iso(token.expiration), "token": str(token)},
    }
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


def _version(info: str) -> str:
    """Return the version that the Kubernetes client asks for, or else the one that AWS CLI falls back to."""
    if not info:
        return USUAL_VERSION
    try:
        found = json.loads(info)["apiVersion"]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if found in VERSIONS:
        return str(found)
    print_message("eks-token", f"{EXEC_INFO} names no apiVersion that is known: {USUAL_VERSION} is used")
    return USUAL_VERSION
