"""The service: averages what devices learnt, announces the model, exports it."""
