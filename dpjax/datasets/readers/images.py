"""Readers of the image files found inside packages: gzipped IDX, and rows of comma-separated pixels."""

import gzip
import io
import json
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import stratified_split
from dpjax.fetching.sources import DatasetError


def decode_idx(content: bytes, file: str) -> UInt8[np.ndarray, "..."]:
    """Reads one gzipped IDX file of unsigned bytes.

    Args:
      content: the gzipped file.
      file: its name, for the message.

    Returns:
      uint8 array of the shape that the file's header states.

    Raises:
      DatasetError: where the header or the length is wrong.

    Example:
      >>> header = bytes([0, 0, 8, 1]) + (3).to_bytes(4, "big")
      >>> decode_idx(gzip.compress(header + bytes([7, 8, 9])), "labels")
      array([7, 8, 9], dtype=uint8)
    """
    data = gzip.decompress(content)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DatasetError(f"data.name: {file} is not an IDX file of bytes; fetch it again with --force")
    rank = data[3]
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", rank, 4))
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * rank)
    if values.size != int(np.prod(shape)):
        raise DatasetError(f"data.name: {file} holds {values.size} bytes where its header says {shape}")
    return values.reshape(shape)


def decode_mnist_like(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the four IDX files of MNIST and of those in its form, in the official split and order.

    Args:
      files: path → gzipped content; the paths hold ``train``/``t10k`` and ``images``/``labels``.

    Returns:
      Inputs ``[rows, height, width]`` uint8.
    """
    parts = {
        (split, what): decode_idx(content, path)
        for path, content in files.items()
        for split in ("train", "t10k")
        for what in ("images", "labels")
        if path.rsplit("/", 1)[-1].startswith(f"{split}-{what}")
    }
    return RawArrays(
        parts["train", "images"],
        parts["train", "labels"].astype(np.int32),
        parts["t10k", "images"],
        parts["t10k", "labels"].astype(np.int32),
    )


def decode_digit_lists(files: Mapping[str, bytes]) -> RawArrays:
    """Reads one JSON file a digit, ``{"data": [pixels]}`` with grey values from 0 to 1, and splits it 80/20 by class.

    Args:
      files: path → content; the file's name is the digit.

    Returns:
      Inputs ``[rows, 28, 28]`` uint8.

    Raises:
      DatasetError: a file that holds no whole pictures.
    """
    images, labels = [], []
    for path in sorted(files):
        values = np.asarray(json.loads(files[path])["data"], np.float64)
        if values.size % 784:
            raise DatasetError(f"data.name: {path} holds {values.size} pixels, which are no whole pictures of 28×28")
        # Three decimals were kept of each 255th.
        images.append(np.rint(values.reshape(-1, 28, 28) * 255).astype(np.uint8))
        labels.append(np.full(len(images[-1]), int(path.rsplit("/", 1)[-1].removesuffix(".json")), np.int32))
    return stratified_split(np.concatenate(images), np.concatenate(labels))


def decode_pixel_rows(files: Mapping[str, bytes]) -> RawArrays:
    """Reads one gzipped file of rows ``pixel, …, pixel, label`` (28×28) and splits it 80/20 by class.

    Args:
      files: one path → gzipped content.

    Returns:
      Inputs ``[rows, 28, 28]`` uint8.
    """
    (content,) = files.values()
    rows = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.uint8, ndmin=2)
    return stratified_split(rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int32))
