"""Get the credentials of an IAM Identity Center sign-in."""
