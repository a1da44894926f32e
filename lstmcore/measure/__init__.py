"""What is timed and compared: lstmcore beside itself, the oracle and other libraries."""
