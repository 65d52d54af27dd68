"""Inputs by the million, for whatever reads what others wrote: ``python -m tests.stress.fuzz``."""
