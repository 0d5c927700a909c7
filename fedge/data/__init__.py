"""What devices and aggregator must agree on about data: rules, moments of columns, scores, disclosure."""
