"""Credentials of a Cognito identity pool."""
