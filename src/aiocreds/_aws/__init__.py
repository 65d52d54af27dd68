"""How AWS services are asked: configuration, endpoints, signatures, errors, protocols."""
