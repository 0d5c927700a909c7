"""Every message on the wire: what bytes must mean before anything looks at them.

A file per family of messages; `fedge.wire.messages.kinds` lists them all. Vectors are raw little-endian
bytes.
"""
