"""A client that is honest but for one thing: python misbehaving_client.py WHAT [arguments of dpjax deploy client]."""

import os
import sys
import time

import numpy as np

from experiments.deploy.client import ClientSide

honestly = ClientSide.answer


def nan(self, letter):
    answer = honestly(self, letter)
    return answer._replace(arrays=[np.full_like(x, np.nan) for x in answer.arrays])


def vanishes(self, letter):
    if letter.kind in ("train", "upload") and letter.step == 1:
        os._exit(1)  # its SuperNode is left behind, as of a machine whose program was killed
    return honestly(self, letter)


def late(self, letter):
    if letter.kind in ("train", "upload") and letter.step == 0:
        time.sleep(30)
    return honestly(self, letter)


def size(self, letter):
    answer = honestly(self, letter)
    return answer._replace(says=dict(answer.says) | {"records": 10**6}) if letter.kind == "hello" else answer


if __name__ == "__main__":
    from dpjax.cli import main

    ClientSide.answer = {"nan": nan, "vanishes": vanishes, "late": late, "size": size}[sys.argv[1]]
    main(["deploy", "client", *sys.argv[2:]])
