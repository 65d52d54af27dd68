"""The first program of the README: print the credentials that this machine has."""

import asyncio

from aiocreds import default_chain


async def main() -> None:
    credentials = await default_chain()()
    print(credentials)


if __name__ == "__main__":
    asyncio.run(main())
