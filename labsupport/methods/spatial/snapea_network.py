"""Networks whose convolutions stop their sums early, alone or under spatial masks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from labsupport.core.errors import LabError
from labsupport.methods.spatial.folding import Source, source_of
from labsupport.methods.spatial.layer import SpatialLayer
from labsupport.methods.spatial.network import SpatialNetwork, add_layer, in_modes_of
from labsupport.methods.spatial.sites import Site, is_relu, sites
from labsupport.methods.spatial.snapea_layer import SnapeaLayer
from labsupport.network.tracing import called, trace

# What keeps numbers at 0 or above.
LAYERS = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity),
    SpatialLayer,
)
FUNCTIONS = {F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout, torch.max_pool2d}


class SnapeaNetwork(nn.Module):
    """A network with SnaPEA layers; `snapea` makes it. `body` is a spatial network if it was one.

    Layers go by the names of their convolutions, as the original network has them.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """What the network gives for images (N, C, H, W).

        Raises LabError where a convolution or a batch norm was replaced.
        """
        self._check_parts()
        return cast(Tensor, self.body(x))

    def _check_parts(self) -> None:
        """Operations are counted by these convolutions and norms: they must be those that run."""
        graph = self.body.body if isinstance(self.body, SpatialNetwork) else self.body
        present = set(graph.modules())
        for layer in self.layers.values():
            is_there = graph.get_submodule(layer.name) is layer.convolutions[0]
            if not is_there or not present.issuperset(layer.norms):
                problem = f"{layer.name} or its batch norm was replaced after SnaPEA was added"
                raise LabError(problem, "replace layers first, then give the network to snapea")

    @property
    def layers(self) -> dict[str, SnapeaLayer]:
        """The SnaPEA layers in the order in which they are called, by their names."""
        found = (module for module in self.body.modules() if isinstance(module, SnapeaLayer))
        return {layer.name: layer for layer in found}


def snapea(
    model: nn.Module, input_shape: tuple[int, ...], convolutions: Sequence[str] | None = None
) -> SnapeaNetwork:
    """A copy whose convolutions stop early in the exact mode; it gives what the network gives.

    That is each whose map goes to a ReLU, through batch norms or directly, and whose input comes
    from another ReLU; or those that are named. A named one may also take the images, which must not
    be below 0 then. Masks of a spatial network stay, and both save together. Raises LabError for a
    network that cannot be traced or stops early already, a convolution whose map is added to
    another before the ReLU, and as `sites` does.
    """
    if any(isinstance(module, SnapeaLayer) for module in model.modules()):
        problem = f"a {type(model).__name__} stops early already"
        raise LabError(problem, "give the network that it was made of")
    copied = copy.deepcopy(model)
    graph = trace(copied.body if isinstance(copied, SpatialNetwork) else copied, input_shape)
    for site, source in _chosen(graph, convolutions):
        _insert(graph, site, source)
    for node in graph.graph.nodes:
        node.meta = {}
    graph.recompile()
    is_spatial = isinstance(copied, SpatialNetwork)
    return in_modes_of(model, SnapeaNetwork(SpatialNetwork(graph) if is_spatial else graph))


def _chosen(graph: fx.GraphModule, convolutions: Sequence[str] | None) -> list[tuple[Site, Source]]:
    """The sites whose sums may stop, and what makes their maps."""
    sources = [(site, _lone_source(graph, site)) for site in sites(graph, convolutions)]
    if convolutions is None:
        chosen = [(site, of) for site, of in sources if of and _is_positive(graph, of.call)]
        if not chosen:
            problem = "no convolution stands between two ReLUs"
            raise LabError(problem, "name those whose inputs are never below 0")
        return chosen
    for site, source in sources:
        if source is None:
            problem = f"no sum of {site.convolutions[0]} may stop: it is not all that the ReLU gets"
            raise LabError(problem, "leave it out; between them may be fixed batch norms alone")
    return [(site, source) for site, source in sources if source]


def _lone_source(graph: fx.GraphModule, site: Site) -> Source | None:
    """What makes a site's map, if that is one convolution and nothing is added to it."""
    source = source_of(graph, site.relu, site.convolutions[0])
    return source if source and source.added is None else None


def _is_positive(graph: fx.GraphModule, call: fx.Node) -> bool:
    """Whether a convolution's input comes from a ReLU by layers that keep numbers at 0 or above."""
    node = call.all_input_nodes[0]
    while isinstance(called(graph, node), LAYERS) or node.target in FUNCTIONS:
        node = node.all_input_nodes[0]
    return is_relu(graph, node)


def _insert(graph: fx.GraphModule, site: Site, source: Source) -> None:
    name = site.convolutions[0]
    convolution = cast(nn.Conv2d, graph.get_submodule(name))
    masks = (called(graph, user) for user in site.relu.users)
    layer = SnapeaLayer(
        name, convolution, source.norms, [mask for mask in masks if isinstance(mask, SpatialLayer)]
    )
    path = add_layer(graph, "snapea", layer)
    with graph.graph.inserting_after(site.relu):
        call = graph.graph.call_module(path, (source.call.all_input_nodes[0], site.relu))
    site.relu.replace_all_uses_with(call, lambda user: user is not call)
