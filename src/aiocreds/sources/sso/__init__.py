"""Credentials of an IAM Identity Center sign-in."""
