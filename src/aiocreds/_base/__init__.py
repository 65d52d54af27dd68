"""What every layer uses and that knows nothing of AWS: times, threads, secrets, processes, JSON documents."""
