"""The engine `fast`: production's functions that train, encode, admit and aggregate, without its messages."""
