"""The variables and profile keys that botocore and AWS CLI know and we do not read, and why.

`NOT_READ` are about credentials, regions, endpoints, metadata and time-outs; the page of
differences has a row for each reason.
`OF_OTHERS` are about what is none of our business.
"""

from __future__ import annotations

NOT_READ: dict[str, tuple[str, ...]] = {
    "`AWS_STS_REGIONAL_ENDPOINTS` and its key are not read: STS is asked in its region.": (
        "AWS_STS_REGIONAL_ENDPOINTS",
        "sts_regional_endpoints",
    ),
    "`AWS_MAX_ATTEMPTS`, `AWS_RETRY_MODE`, `AWS_DEFAULTS_MODE` and their keys are for a program's own requests.": (
        "AWS_MAX_ATTEMPTS",
        "max_attempts",
        "AWS_RETRY_MODE",
        "retry_mode",
        "AWS_DEFAULTS_MODE",
        "defaults_mode",
        "AWS_NEW_RETRIES_2026",
    ),
    "`AWS_CREDENTIAL_FILE` and `BOTO_CONFIG` are not read: they name files of older tools.": (
        "AWS_CREDENTIAL_FILE",
        "BOTO_CONFIG",
    ),
    "`AWS_DATA_PATH` and its key are not read: the partitions are built in.": ("AWS_DATA_PATH", "data_path"),
    "`AWS_BEARER_TOKEN_<SERVICE>` is not read: it replaces keys for one service.": ("AWS_BEARER_TOKEN_",),
    "`proxies_config` is not read: proxies are named by variables alone.": (
        "proxy_ca_bundle",
        "proxy_client_cert",
        "proxy_use_forwarding_for_https",
    ),
}

OF_OTHERS: dict[str, tuple[str, ...]] = {
    "how requests to other services are made, checked, compressed, signed and addressed": (
        "AWS_ACCOUNT_ID_ENDPOINT_MODE",
        "account_id_endpoint_mode",
        "AWS_AUTH_SCHEME_PREFERENCE",
        "auth_scheme_preference",
        "AWS_DISABLE_HOST_PREFIX_INJECTION",
        "disable_host_prefix_injection",
        "AWS_DISABLE_REQUEST_COMPRESSION",
        "disable_request_compression",
        "AWS_ENDPOINT_DISCOVERY_ENABLED",
        "endpoint_discovery_enabled",
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "request_checksum_calculation",
        "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES",
        "request_min_compression_size_bytes",
        "AWS_RESPONSE_CHECKSUM_VALIDATION",
        "response_checksum_validation",
        "AWS_SIGV4A_SIGNING_REGION_SET",
        "sigv4a_signing_region_set",
        "BOTOCORE_TCP_KEEPALIVE",
        "tcp_keepalive",
        "api_versions",
        "parameter_validation",
    ),
    "S3": (
        "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",
        "s3_disable_express_session_auth",
        "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS",
        "s3_disable_multiregion_access_points",
        "AWS_S3_USE_ARN_REGION",
        "s3_use_arn_region",
        "use_arn_region",
        "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
        "s3_us_east_1_regional_endpoint",
        "us_east_1_regional_endpoint",
        "addressing_style",
        "payload_signing_enabled",
        "use_accelerate_endpoint",
    ),
    "telling who asks": (
        "AWS_CSM_CLIENT_ID",
        "csm_client_id",
        "AWS_CSM_ENABLED",
        "csm_enabled",
        "AWS_CSM_HOST",
        "csm_host",
        "AWS_CSM_PORT",
        "csm_port",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_SDK_UA_APP_ID",
        "sdk_ua_app_id",
        "_X_AMZN_TRACE_ID",
    ),
    "botocore's own insides": (
        "BOTOCORE_EXPERIMENTAL__PLUGINS",
        "BOTO_DISABLE_CRT",
        "BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER",
        "BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE",
        "SSLKEYLOGFILE",  # Python itself sees to that one
    ),
    "how AWS CLI looks and what its commands do": (
        "AWS_CLI_AUTO_PROMPT",
        "cli_auto_prompt",
        "cli_binary_format",
        "AWS_CLI_FILE_ENCODING",
        "cli_follow_urlparam",
        "cli_history",
        "AWS_CLI_HISTORY_FILE",
        "cli_pager",
        "AWS_CLI_S3_MV_VALIDATE_SAME_S3_PATHS",
        "cli_timestamp_format",
        "AWS_CLI_UPGRADE_DEBUG_MODE",
        "AWS_DEFAULT_OUTPUT",
        "output",
        "AWS_PAGER",
        "AWS_PARTITION",
        "AWS_SSM_START_SESSION_RESPONSE",
        "AWS_TEST_COMMAND",
    ),
}

BY_HAND = (
    # What version 2 of AWS CLI has besides, which is no package: see
    # https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html and …/cli-configure-files.html
    *("AWS_CLI_AUTO_PROMPT", "cli_auto_prompt", "cli_binary_format", "cli_follow_urlparam", "cli_history"),
    *("cli_pager", "cli_timestamp_format", "output", "sso_registration_scopes", "services", "endpoint_url"),
)
