"""Save and load the state that a resumed run needs, and the tensors of checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from detector.errors import CheckpointError
from detector.files import replacing


def save_state(path: Path, parts: Mapping[str, nn.Module | torch.optim.Optimizer], facts: Mapping[str, Any]) -> None:
    """Write the state that a resumed run needs to one file: networks and Adam moments as tensors, facts as JSON."""
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            tensors |= {f"{name}.{key}": tensor for key, tensor in part.state_dict().items()}
        else:
            for i, moments in part.state_dict()["state"].items():
                tensors |= {f"{name}.{i}.{key}": torch.as_tensor(tensor) for key, tensor in moments.items()}
    with replacing(path) as temporary:
        save_file({k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}, temporary,
                  metadata={"facts": json.dumps(facts)})  # fmt: skip


def load_state(path: Path, parts: Mapping[str, nn.Module | torch.optim.Optimizer]) -> dict[str, Any]:
    """Load a state that `save_state` wrote into the parts, and return its facts; CheckpointError if it does not fit."""
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for name, part in parts.items():
            saved = {k[len(name) + 1 :]: t for k, t in tensors.items() if k.startswith(name + ".")}
            if isinstance(part, nn.Module):
                part.load_state_dict(saved)
            else:
                state: dict[int, dict[str, Tensor]] = {}
                for key, tensor in saved.items():
                    i, moment = key.split(".")
                    state.setdefault(int(i), {})[moment] = tensor
                part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not continue this run ({str(error).splitlines()[0][:100]}); delete it to start afresh"
        ) from None
    return facts


def borrow_weights(net: nn.Module, tensors: Mapping[str, NDArray[Any]], prefix: str = "") -> int:
    """Copy every tensor with the name and shape of one of the network's into it, and return how many were copied."""
    expected = net.state_dict()
    fitting = {k: torch.from_numpy(tensors[prefix + k].copy()) for k in expected
               if prefix + k in tensors and tensors[prefix + k].shape == tuple(expected[k].shape)}  # fmt: skip
    net.load_state_dict(fitting, strict=False)
    return len(fitting)


def load_weights(net: nn.Module, tensors: Mapping[str, NDArray[Any]], prefix: str = "") -> None:
    """Copy the tensors of a checkpoint into the network; CheckpointError if one of the network's is missing."""
    expected, found = len(net.state_dict()), borrow_weights(net, tensors, prefix)
    if found != expected:
        raise CheckpointError(f"the checkpoint lacks {expected - found} of the network's {expected} tensors")


def state_to_numpy(net: nn.Module, prefix: str = "", *, half: bool = False) -> dict[str, NDArray[Any]]:
    """Return the state of a network as named arrays for a checkpoint. half: keep 16 bits of each number."""
    kind = torch.float16 if half else torch.float32
    return {prefix + name: tensor.detach().cpu().to(kind).numpy() for name, tensor in net.state_dict().items()}
