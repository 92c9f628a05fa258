"""The base class of the trained generators: saves weights and arguments to a folder, and loads them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from torch import nn

from detector.errors import CheckpointError
from detector.learning import state
from detector.scoring.checkpoint import Tensors, read_card, read_tensors, write_checkpoint

N = TypeVar("N", bound=nn.Module)


class Trained(Generic[N]):
    """A generator whose network is trained; it keeps the arguments of its constructor as attributes.

    prefix: first letters of the names that the network's tensors have in a checkpoint. half: whether a checkpoint keeps
    16 bits of each weight.
    """

    name: str
    prefix: str = ""
    half: bool = False
    net: N | None = None

    def save(self, folder: Path, **facts: Any) -> None:
        """Write the weights, and a card with the arguments and these facts; load the saved, perhaps rounded, weights.

        Raises CheckpointError if there are no weights.
        """
        tensors = state.state_to_numpy(self._trained_net(), self.prefix, half=self.half)
        arguments = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        card = {"generator": self.name, "arguments": arguments, **facts}
        write_checkpoint(folder, tensors | self._further_tensors(), card)
        state.load_weights(self._trained_net(), tensors, self.prefix)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the generator that `save` wrote to a folder; CheckpointError if it is missing or incomplete."""
        self = cls(**read_card(folder, "generator")["arguments"])
        self.net = self._build()
        state.load_weights(self.net, read_tensors(folder), cls.prefix)
        return self

    def _build(self) -> N:
        """Return the network with initial weights."""
        raise NotImplementedError

    def _further_tensors(self) -> Tensors:
        """Return the tensors that a checkpoint has in addition to the network's."""
        return {}

    def _trained_net(self) -> N:
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it or load a checkpoint")
        return self.net
