"""Cached sign-ins, which programs share with AWS CLI and the SDKs."""
