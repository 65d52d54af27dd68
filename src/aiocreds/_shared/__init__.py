"""One set of credentials for many processes, through a store that they share."""
