"""Integrations: each connects providers to one other library, through its public interface alone."""
