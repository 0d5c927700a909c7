"""The model as files for others."""
