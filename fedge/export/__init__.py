"""A model as an ONNX file, for the aggregator's export and a device's own; only this folder needs onnx."""
