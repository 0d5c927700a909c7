"""Codecs: how a vector becomes bytes, one file a method (`fedge.algorithms.protocols.Codec`)."""
