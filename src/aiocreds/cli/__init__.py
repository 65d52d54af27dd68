"""The ``aiocreds`` command: see credentials, hand them over, serve them.

Nothing here is loaded by ``import aiocreds``.
"""
