"""PyIceberg on S3, through s3fs, with credentials that stay fresh for as long as a table is open.

Run it with ``python pyiceberg_s3.py s3://bucket/warehouse``: it writes a small table there and reads it back; the
catalog is a file in the current folder. It takes credentials from wherever it runs, and region and endpoint from
``AWS_REGION`` and ``AWS_ENDPOINT_URL``. Needs ``pyiceberg[sql-sqlite]``, ``pyarrow`` and ``s3fs``.
"""

# mypy: disable-error-code="import-not-found, import-untyped, misc"
# pyright: basic, reportMissingImports=false
from __future__ import annotations

import sys

import pyarrow as pa
from aiobotocore.session import get_session
from pyiceberg.catalog import load_catalog
from pyiceberg.io import FileIO, InputFile, OutputFile
from pyiceberg.io.fsspec import FsspecInputFile, FsspecOutputFile
from pyiceberg.typedef import Properties
from s3fs import S3FileSystem

from aiocreds import default_chain
from aiocreds.integrations.aiobotocore import attach

provider = default_chain()


class FreshFileIO(FileIO):
    """The ``py-io-impl``: all files of a table, on a session that signs with current credentials."""

    def __init__(self, properties: Properties) -> None:
        super().__init__(properties)
        self._s3 = S3FileSystem(session=attach(get_session(), provider))

    def new_input(self, location: str) -> InputFile:
        """Return a file to read."""
        return FsspecInputFile(location, self._s3)

    def new_output(self, location: str) -> OutputFile:
        """Return a file to write."""
        return FsspecOutputFile(location, self._s3)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete a file."""
        self._s3.rm_file(location if isinstance(location, str) else location.location)


def main(warehouse: str) -> None:
    """Write and read a table."""
    io = f"{FreshFileIO.__module__}.{FreshFileIO.__name__}"
    catalog = load_catalog("demo", type="sql", uri="sqlite:///demo.db", warehouse=warehouse, **{"py-io-impl": io})
    catalog.create_namespace_if_not_exists("demo")
    numbers = pa.table({"number": pa.array(range(3), pa.int64())})
    table = catalog.create_table_if_not_exists("demo.numbers", schema=numbers.schema)
    table.append(numbers)
    print(table.scan().to_arrow()["number"].to_pylist())


if __name__ == "__main__":
    main(sys.argv[1])
