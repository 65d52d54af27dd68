"""Cached sign-ins that programs share with AWS CLI and the SDKs."""
