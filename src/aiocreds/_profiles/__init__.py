"""Locate, read and parse the shared config and credentials files, and resolve their profiles."""

from aiocreds._profiles.files import expand, load, profile_name
from aiocreds._profiles.model import Section, Setting, SharedConfig

__all__ = ["Section", "Setting", "SharedConfig", "expand", "load", "profile_name"]
