"""A network whose weights are whole multiples of steps, as one file of few bytes.

The file is: 4 bytes that name the format, its version in one, the bytes of the next two parts in
four, the steps (bfloat16), all other tensors as they are in memory, one stream of a range coder
(number of layers, rows and columns of each, codes), and a checksum of 4 bytes. Probabilities of the
stream follow from what was read before, so that no table is needed. How the layers stand together
is not in the file: the reader gives the architecture, which the checksum is of, too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.core.tensors import raw_bytes
from labsupport.methods.sharing import container
from labsupport.methods.sharing.entropy.matrices import Matrix, code_matrix, code_whole
from labsupport.methods.sharing.entropy.steps import STEPPED, steps
from labsupport.methods.sharing.entropy.streams import Reader, Stream, Writer
from labsupport.methods.sharing.layers import make_plain_value
from labsupport.network.fingerprint import fingerprint
from labsupport.network.weights import WEIGHTED

FORMAT, VERSION = b"LSEC", 1
NUMBER = 4  # bytes that say how many bytes steps and other tensors have
STEP = torch.bfloat16
LARGEST = 2**24  # float32 has no whole number beyond it for each code
EITHER = "is damaged, or was written of another architecture, and cannot be read"
SIZES = "its tensors have other sizes"


def encode(network: nn.Module, path: Path | str) -> pd.Series[int]:
    """Write a network all of whose layers have steps as one file, and give its bytes by part.

    Parts: header (with format and checksum), steps, others (all that has no steps), codes; they
    add up to the file's size. Raises LabError for a layer without steps, one that is not finite,
    one whose weights something changes after they were rounded, for sparse tensors, and for hooks
    and attributes that have no description.
    """
    known = {name: step.step.detach() for name, step in steps(network).items()}
    matrices = [_codes(name, layer, known) for name, layer in _layers(network).items()]
    stream = Writer()
    _code_layers(stream, matrices)
    plain = {
        "steps": b"".join(raw_bytes(step.to(STEP)) for step in known.values()),
        "others": b"".join(map(raw_bytes, _others(_plain(network)))),
    }
    before = sum(map(len, plain.values())).to_bytes(NUMBER, "big")
    sections = {"header": before, **plain, "codes": stream.content()}
    sizes = pd.Series({part: len(section) for part, section in sections.items()}, name="bytes")
    content, about = b"".join(sections.values()), structure(network)
    sizes["header"] += container.write(path, FORMAT, VERSION, content, about)
    return sizes


def decode(path: Path | str, architecture: nn.Module) -> nn.Module:
    """A copy of a network with the weights that `encode` wrote, in eval mode.

    The copy equals `rounded` of the network that was written to the last bit; the architecture's
    own weights make no difference. Raises LabError for a file that is missing, damaged, of another
    kind or of a newer version, and for another architecture, as `encode` does.
    """
    parse, about = partial(_network, architecture), structure(architecture)
    return container.read(path, FORMAT, VERSION, parse, about, EITHER)


def structure(network: nn.Module) -> bytes:
    """What a network is besides the numbers in its file, in few bytes."""
    blank = _plain(network)
    for tensor in blank.state_dict(keep_vars=True).values():
        tensor.data = torch.zeros_like(tensor)
    return fingerprint(blank).encode()


def _network(architecture: nn.Module, content: bytes) -> nn.Module:
    """The architecture with the weights that the content of a file has."""
    network = _plain(architecture).eval()
    layers = _layers(network).values()
    slots = [getattr(layer, kind) for layer in layers for kind in _kinds(layer)]
    others = _others(network)
    end = NUMBER + int.from_bytes(content[:NUMBER], "big")
    known, *stored = _cut(content[NUMBER:end], [torch.empty(len(slots), dtype=STEP), *others])
    empty = [np.zeros((_outputs(layer), sum(_widths(layer))), np.int64) for layer in layers]
    matrices = map(torch.from_numpy, _code_layers(Reader(content[end:]), empty))
    parts = [torch.split(of, _widths(layer), 1) for of, layer in zip(matrices, layers, strict=True)]
    with torch.no_grad():
        for slot, codes, step in zip(slots, chain(*parts), known.float(), strict=True):
            slot.copy_(_multiples(codes.reshape(slot.shape), step, slot.dtype))
        for slot, value in zip(others, stored, strict=True):
            slot.copy_(value)
    return network


def _code_layers(stream: Stream, given: Sequence[Matrix]) -> list[Matrix]:
    """All matrices, after their shapes. Raises ValueError for a stream with other shapes."""
    shapes = [len(given), *(side for matrix in given for side in matrix.shape)]
    if any(code_whole(stream, side) != side for side in shapes):
        raise ValueError(SIZES)
    return [code_matrix(stream, matrix) for matrix in given]


def _codes(name: str, layer: nn.Module, known: Mapping[str, Tensor]) -> Matrix:
    """The codes of a layer, (outputs, inputs and bias)."""
    parts = []
    for kind in _kinds(layer):
        value, step = getattr(layer, kind).detach(), known.get(f"{name}.{kind}".lstrip("."))
        if step is None:
            problem = f"the {kind} of layer {name or type(layer).__name__} has no step"
            raise LabError(problem, "give all layers some: with_steps(network)")
        codes = (value / step).round()
        exact = torch.equal(_multiples(codes, step, value.dtype), value)
        if not exact or codes.abs().max() > LARGEST:
            problem = f"the {kind} of layer {name} is not finite, or not in whole steps"
            raise LabError(problem, "look at how it was trained, or give it steps again")
        parts.append(codes.reshape(len(codes), -1))
    return torch.cat(parts, 1).long().cpu().numpy()


def _multiples(codes: Tensor, step: Tensor, dtype: torch.dtype) -> Tensor:
    return (codes.float() * step).to(dtype)


def _plain(network: nn.Module) -> nn.Module:
    """A copy whose layers hold their weights as they are."""
    plain = copy.deepcopy(network)
    for layer in _layers(plain).values():
        for kind in _kinds(layer):
            make_plain_value(layer, kind)
    return plain


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: of for name, of in network.named_modules() if isinstance(of, WEIGHTED)}


def _kinds(layer: nn.Module) -> list[str]:
    return [kind for kind in STEPPED if getattr(layer, kind) is not None]


def _widths(layer: nn.Module) -> list[int]:
    """The columns of codes of each tensor of a layer."""
    return [getattr(layer, kind)[0].numel() for kind in _kinds(layer)]


def _outputs(layer: nn.Module) -> int:
    return len(layer.get_parameter("weight"))


def _others(network: nn.Module) -> list[Tensor]:
    """The tensors of a plain network that are not coded. Raises LabError for sparse ones."""
    seen = {id(getattr(layer, k)) for layer in _layers(network).values() for k in _kinds(layer)}
    others: dict[str, Tensor] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:  # by identity: a layer may stand in two places
            seen.add(id(tensor))
            others[name] = tensor.detach()
    if sparse := [name for name, tensor in others.items() if tensor.layout != torch.strided]:
        raise LabError(f"{sparse[0]} is sparse", "encode the network without sparse layers")
    return list(others.values())


def _cut(content: bytes, like: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of the types and shapes of others. Raises ValueError for more or fewer bytes."""
    ends = np.cumsum([0, *(tensor.numel() * tensor.element_size() for tensor in like)]).tolist()
    if ends[-1] != len(content):
        raise ValueError(SIZES)
    parts = [content[start:end] for start, end in pairwise(ends)]
    return [
        container.as_tensor(part, tensor.dtype, tensor.shape)
        for part, tensor in zip(parts, like, strict=True)
    ]
