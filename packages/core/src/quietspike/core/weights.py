"""Networks and training states as safetensors files: written whole or not at all, and read without pickle."""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from quietspike.core.errors import CheckpointError, unknown_name


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it and rename it, so that nobody ever sees half of it.

    It lasts through a loss of power. What a SIGKILL leaves is called ``.<name>.<digits>``; ``sweep`` removes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished in a folder that nobody else writes to."""
    for leftover in folder.glob(".*.*"):
        leftover.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors, a JSON record beside them, and a checksum of the tensors."""
    copies = {  # of all, since safetensors refuses names that share memory, as tied weights do
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    text = json.dumps(record)
    write_whole(path, save(copies, metadata={"record": text, "checksum": _checksum(copies, text)}))


def _checksum(tensors: Mapping[str, Tensor], record: str) -> str:
    """Of names, kinds, shapes and bytes: safetensors has none, and one bit is enough to train on to another end."""
    crc = zlib.crc32(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        CheckpointError: if there is no such file, or it is damaged; names the file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text = metadata.get("record", "{}")
            record = dict(json.loads(text))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not a whole safetensors file ({reason})") from None
    if metadata.get("checksum") not in (None, _checksum(tensors, text)):  # other tools write none
        raise CheckpointError(f"{path}: damaged: its checksum differs")
    return tensors, record


def save_weights(path: Path, network: nn.Module, record: Mapping[str, Any]) -> None:
    """Write a network's state and what is needed to build it again."""
    save_tensors(path, network.state_dict(), record)


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put tensors into a network.

    Raises:
        CheckpointError: at the first name or shape that does not fit; names it and the source.
    """
    own = network.state_dict()
    for name, tensor in tensors.items():
        if name not in own:
            raise CheckpointError(str(unknown_name(f"{source}: weights", name, own)))
        if own[name].shape != tensor.shape:
            raise CheckpointError(f"{source}: {name} has shape {tuple(tensor.shape)}, not {tuple(own[name].shape)}")
    missing = [name for name in own if name not in tensors]
    if missing:
        raise CheckpointError(f"{source}: weights: {missing[0]!r} is missing, and {len(missing) - 1} more")
    with torch.no_grad():
        network.load_state_dict(dict(tensors))
