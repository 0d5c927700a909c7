"""Codecs: encode a vector as bytes, one file a method (`fedge.algorithms.protocols.Codec`)."""
