"""What a file may cost, and with which windows what was read is tried."""
