"""A whole federation on one machine: processes, broker, report."""
