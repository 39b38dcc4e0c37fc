"""Federated algorithms: what clients learn and send, and what the server makes of it."""
