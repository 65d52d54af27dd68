"""The shared config and credentials files: where they lie, what they mean, and when to read them again."""

from aiocreds.config.files import load, profile_name, profile_place
from aiocreds.config.locations import expand
from aiocreds.config.profiles import Section, SharedConfig

__all__ = ["Section", "SharedConfig", "expand", "load", "profile_name", "profile_place"]
