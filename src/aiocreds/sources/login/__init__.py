"""Credentials of an ``aws login`` sign-in."""
