"""Calls to AWS services: configuration, endpoints, signatures, errors, protocols."""
