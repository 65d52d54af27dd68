"""Get credentials from IAM Roles Anywhere."""
