"""Spatial networks: a network with spatial layers, and its masks by the names of convolutions."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

from torch import Tensor, fx, nn

from labsupport.core.errors import LabError
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.masks import Mask
from labsupport.methods.spatial.patterns import diagonal
from labsupport.methods.spatial.sites import Site, sites
from labsupport.methods.spatial.snapea_layer import SnapeaLayer
from labsupport.network.tracing import trace

N = TypeVar("N", bound=nn.Module)
DIAGONAL = Mask.uniform(2, diagonal(2))


class SpatialNetwork(nn.Module):
    """A network whose ReLUs are followed by spatial layers; `spatialize` makes it.

    Layers go by the name of a convolution whose map they mask, as the original network has it.
    Masks are set and switched in place; they are kept in copies and in files.
    """

    def __init__(self, body: fx.GraphModule) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """What the network gives for images (N, C, H, W).

        Raises LabError where a convolution was replaced.
        """
        self.check_convolutions()
        return cast(Tensor, self.body(x))

    def check_convolutions(self) -> None:
        """Raises LabError unless the convolutions by which a layer counts are those that run."""
        for layer in self.layers.values():
            for name, convolution in zip(layer.names, layer.convolutions, strict=True):
                if self.body.get_submodule(name) is not convolution:
                    problem = f"{name} was replaced after its spatial layer was made"
                    raise LabError(problem, "replace convolutions first, then spatialize")

    @property
    def layers(self) -> dict[str, SpatialLayer]:
        """The spatial layers in the order in which they are called, by their names."""
        found = (module for module in self.body.modules() if isinstance(module, SpatialLayer))
        return {layer.name: layer for layer in found}

    @property
    def masks(self) -> dict[str, Mask]:
        """The mask of each layer."""
        return {name: layer.mask for name, layer in self.layers.items()}

    def layer(self, convolution: str) -> SpatialLayer:
        """The layer that masks a convolution's map. Raises LabError for a name without one."""
        for layer in self.layers.values():
            if convolution in layer.names:
                return layer
        problem = f"no spatial layer masks {convolution!r}"
        raise LabError(problem, f"choose from {', '.join(self.layers)}")

    def set_masks(self, masks: Mask | Mapping[str, Mask]) -> None:
        """Set the masks of some layers by name, or the same for all; none if one does not fit.

        Raises LabError as `layer` and `Mask.check` do.
        """
        named = dict.fromkeys(self.layers, masks) if isinstance(masks, Mask) else masks
        chosen = [(self.layer(name), mask) for name, mask in named.items()]
        if len({layer for layer, _ in chosen}) < len(chosen):
            problem = f"of {', '.join(named)} some share a layer"
            raise LabError(problem, "give one mask for each layer")
        for layer, mask in chosen:
            mask.check(layer.ofmap, layer.name)
        for layer, mask in chosen:
            layer.set_mask(mask)

    def enable(self, *names: str) -> None:
        """Let some layers predict, by default all. Raises LabError as `layer` does."""
        self._switch(names, True)

    def disable(self, *names: str) -> None:
        """Let some layers pass on what they get, by default all. Raises LabError as `layer`."""
        self._switch(names, False)

    def _switch(self, names: Sequence[str], enabled: bool) -> None:
        for layer in [self.layer(name) for name in names or self.layers]:
            layer.enabled = enabled


@contextmanager
def disabled(network: SpatialNetwork) -> Iterator[None]:
    """The network with all its layers disabled; afterwards they are as they were."""
    before = {layer: layer.enabled for layer in network.layers.values()}
    network.disable()
    try:
        yield
    finally:
        for layer, enabled in before.items():
            layer.enabled = enabled


def spatialize(
    model: nn.Module,
    input_shape: tuple[int, ...],
    mask: Mask = DIAGONAL,
    convolutions: Sequence[str] | None = None,
) -> SpatialNetwork:
    """A copy with a spatial layer after each eligible ReLU, or those behind some convolutions.

    All layers get `mask` and are enabled. What the network's own code calls with
    `training=self.training` stays as in eval mode. Raises LabError for a network that cannot be
    traced or has spatial layers or early exits already, and as `sites` and `Mask.check` do.
    """
    _check_plain(model)
    body = trace(copy.deepcopy(model), input_shape)
    for site in sites(body, convolutions):
        _insert(body, site, mask)
    for node in body.graph.nodes:
        node.meta = {}
    body.recompile()
    return in_modes_of(model, SpatialNetwork(body))


def in_modes_of(model: nn.Module, network: N) -> N:
    """A network in the mode of the one whose graph its body is, and so its parts by name."""
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in network.named_modules():  # some may be frozen
        module.training = modes.get(name.removeprefix("body").lstrip("."), model.training)
    return network


def _check_plain(model: nn.Module) -> None:
    if hasattr(model, "all_logits"):
        problem = f"a {type(model).__name__} has early exits already"
        raise LabError(problem, "spatialize the network that it was made of, then add the exits")
    if any(isinstance(module, SpatialLayer) for module in model.modules()):
        problem = f"a {type(model).__name__} has spatial layers already"
        raise LabError(problem, "set their masks")
    if any(isinstance(module, SnapeaLayer) for module in model.modules()):
        problem = f"a {type(model).__name__} stops sums early already"
        raise LabError(problem, "spatialize the network that it was made of, then add SnaPEA")


def _insert(body: fx.GraphModule, site: Site, mask: Mask) -> None:
    layers = {name: cast(nn.Conv2d, body.get_submodule(name)) for name in site.convolutions}
    layer = SpatialLayer(layers, site.ofmap, mask)
    path = add_layer(body, "spatial", layer)
    with body.graph.inserting_after(site.relu):
        call = body.graph.call_module(path, (site.relu,))
    site.relu.replace_all_uses_with(call, lambda user: user is not call)


def add_layer(body: fx.GraphModule, kind: str, layer: SpatialLayer | SnapeaLayer) -> str:
    """Add a layer to a graph's modules, under a free name that tells its kind and convolution."""
    path = f"{kind}_{layer.name}".replace(".", "_")
    while hasattr(body, path):  # names with dots and with underscores may meet
        path += "_"
    body.add_submodule(path, layer)
    return path
