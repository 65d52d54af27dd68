"""The AWS partitions: separate sets of regions, each with its own domain names.

The tests hold the table equal to the one that the installed botocore carries.

See https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Partition(NamedTuple):
    """One partition.

    Attributes:
        name: such as ``"aws"``, the second part of an ARN.
        dns_suffix: what host names end in.
        dual_stack_suffix: what the host names that also answer on IPv6 end in.
        home_region: where to go when nothing but the partition is known.
        region_pattern: a regular expression that its regions match, also those opened later.
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


def partition_of(region: str) -> Partition:
    """The partition that a region belongs to, by its name; ``aws`` for a name that none claims."""
    for partition in PARTITIONS:
        if region == partition.global_region or re.fullmatch(partition.region_pattern, region):
            return partition
    return AWS


def partition_named(name: str) -> Partition:
    """The partition of that name; ``aws`` when there is none."""
    return next((partition for partition in PARTITIONS if partition.name == name), AWS)


def home_region(arn: str) -> str:
    """The region to ask about an ARN when no region is configured: its partition's home.

    The ARN is taken as it is. One that names no known partition is treated as one of ``aws``.
    """
    return partition_named(arn.partition(":")[2].partition(":")[0]).home_region
