"""What is said to AWS services, and how."""
