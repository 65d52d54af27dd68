"""The Kubernetes API of EKS, with kubernetes_asyncio: every request carries a token of its own.

Run it with ``python kubernetes_eks.py books https://….eks.amazonaws.com ca.pem``: the cluster's name, its endpoint
and its certificate authority, as ``aws eks describe-cluster`` shows them. It takes credentials from wherever it
runs, and the region from ``AWS_REGION``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api

from aiocreds import default_chain
from aiocreds.tokens import eks_token


async def main(cluster: str, endpoint: str, ca: str) -> None:
    async with default_chain() as provider:
        token = eks_token(provider, cluster)

        async def refresh(configuration: Any) -> None:
            configuration.api_key["BearerToken"] = f"Bearer {await token()}"

        configuration: Any = Configuration(host=endpoint, api_key={"BearerToken": ""})
        configuration.ssl_ca_cert = ca
        configuration.refresh_api_key_hook = refresh  # is awaited before each request
        client: Any = ApiClient(configuration)
        async with client as api:
            pods = await CoreV1Api(api).list_namespaced_pod("default")
            print([pod.metadata.name for pod in pods.items])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
