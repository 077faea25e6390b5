"""Frames between nodes: CURVE sockets and their in-memory twin. The home of zmq."""
