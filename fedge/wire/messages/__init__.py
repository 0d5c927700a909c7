"""All messages: their types and bounds, which are checked before a message is used.

One file for each family of messages; `fedge.wire.messages.kinds` lists them all. Vectors are raw
little-endian bytes.
"""
