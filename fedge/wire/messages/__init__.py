"""Every message on the wire: types and bounds that are checked before a message is used.

One file for each family of messages; `fedge.wire.messages.kinds` lists them all. Vectors are raw
little-endian bytes.
"""
