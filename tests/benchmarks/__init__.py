"""The numbers that bind, measured: ``python -m tests.benchmarks``. Not collected by pytest."""
