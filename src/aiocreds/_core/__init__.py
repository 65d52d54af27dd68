"""Providers: when credentials are refreshed, by whom, and who waits."""
