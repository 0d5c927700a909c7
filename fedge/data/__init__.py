"""Data, as far as devices and aggregator must agree: rules, moments of columns, scores, disclosure."""
