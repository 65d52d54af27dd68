"""Get the credentials of an ``aws login`` sign-in."""
