"""The shared config and credentials files: where they lie, what they mean, and when to read them again."""

from aiocreds._profiles.files import expand, load, profile_name, profile_place
from aiocreds._profiles.model import Section, Setting, SharedConfig

__all__ = ["Section", "Setting", "SharedConfig", "expand", "load", "profile_name", "profile_place"]
