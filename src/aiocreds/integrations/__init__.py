"""Leaves: each plugs providers into one other library, on its public interface alone."""
