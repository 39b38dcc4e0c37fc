"""Rounds whose clients are processes of their own: what each computes, covers and sends, and what the server adds up.

The pieces of a simulated round, cut where the network is. Nothing here knows a network: messages are arrays and bytes.
"""

from dpjax.federated.remote.covers import bytes_of_words, cover, uncovered, words_of_bytes
from dpjax.federated.remote.messages import Sender, sent_on_grid, sent_plainly
from dpjax.federated.remote.sums import Uncovered, received_sum, uncovered_sum

__all__ = [
    "Sender",
    "Uncovered",
    "bytes_of_words",
    "cover",
    "received_sum",
    "sent_on_grid",
    "sent_plainly",
    "uncovered",
    "uncovered_sum",
    "words_of_bytes",
]
