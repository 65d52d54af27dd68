"""Times, threads, redaction, processes and JSON documents: used by every layer, and free of AWS."""
