"""The ``aiocreds`` command: see credentials, hand them over, serve them; sign in, and set profiles up.

Nothing here is loaded by ``import aiocreds``. Each command is a module with ``configure`` and ``run``:

- ``main``: the command line, log lines and exit statuses; a new command is a module and a line in its ``COMMANDS``
- ``explain``: what the sources look at, as text and as JSON; ``_loading`` finds the provider of ``--provider``
- ``export``: a new format is a function and a line in its ``SHELLS``
- ``exec``: a command with credentials in its environment, or with an endpoint of its own
- ``login``, ``logout``: sign a person in and out; ``login`` also holds the offer of the other commands to do so
- ``serve``: the endpoint for the machine; ``_endpoint`` answers requests, ``_connections`` limits connections
- ``profiles``: all profiles in a table
- ``configure``: profiles for Identity Center; ``_questions`` lets a person choose
- ``_common``: options, providers and variables that several commands share
- ``_terminal``: stderr, signals and MFA prompts
"""
