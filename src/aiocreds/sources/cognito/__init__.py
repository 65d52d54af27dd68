"""Get credentials from a Cognito identity pool."""
