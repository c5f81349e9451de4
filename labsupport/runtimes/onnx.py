"""Networks outside torch: exported to ONNX, and run by onnxruntime."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import onnxruntime
import torch
from torch import Tensor, nn

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write
from labsupport.network.calls import example
from labsupport.network.cost import Cost, cost
from labsupport.network.modes import some_threads
from labsupport.network.weights import Weights, weights_of
from labsupport.runtimes.runtime import Runtime

# The metadata that hold the cost of one example, and what the weights were.
COST, WEIGHTS = "labs.cost", "labs.weights"
Stated = TypeVar("Stated", Cost, Weights)


class Onnxruntime:
    """onnxruntime on the CPU: each network has a session with threads of its own."""

    name = "onnxruntime"

    def replica(self, network: nn.Module, threads: int) -> nn.Module:
        """A copy with a session of its own, on so many threads."""
        return cast(OnnxNetwork, network).on_threads(threads)

    def set_threads(self, threads: int) -> None:
        """Nothing to do: a session has had its threads since it was made."""

    def resident_bytes(self, network: nn.Module) -> int:
        """Bytes of the file, which holds the weights once; what a session repacks is not known."""
        return cast(OnnxNetwork, network).file.nbytes


class OnnxNetwork(nn.Module):
    """An ONNX file as a network: float32 batches (N, ...) to logits, on the CPU.

    `threads` are onnxruntime's own; torch's thread count does not reach it. The file's bytes are
    a buffer, uint8, so that the network can be copied and saved. Raises LabError for a file that
    is missing or broken, and fewer than one thread.
    """

    file: Tensor
    runtime: Runtime = Onnxruntime()

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        super().__init__()
        self.threads = some_threads(threads)
        try:
            content = bytearray(Path(path).read_bytes())
            self.register_buffer("file", torch.frombuffer(content, dtype=torch.uint8))
            self.session = _session(self.file, threads)
        except Exception as error:  # onnxruntime's errors share no base but Exception
            problem = f"{path} cannot be run ({type(error).__name__})"
            raise LabError(problem, "give a file that export_onnx wrote") from None
        self.input = self.session.get_inputs()[0].name

    def __getstate__(self) -> dict[str, Any]:
        """All but the session, which cannot be copied."""
        return {name: value for name, value in vars(self).items() if name != "session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.session = _session(self.file, self.threads)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes). Raises LabError for a batch that does not fit."""
        try:
            logits, *_ = self.session.run(None, {self.input: x.detach().cpu().float().numpy()})
        except Exception as error:  # onnxruntime's errors share no base but Exception
            problem = f"the exported network does not take a batch of {tuple(x.shape)}"
            raise LabError(problem, f"give {self.session.get_inputs()[0].shape}") from error
        return torch.from_numpy(logits).to(x.device)

    def forward_cost(self, x: Tensor, _output: Tensor) -> Cost:
        """As it was counted before the export. Raises LabError where the file does not say."""
        return self._stated(Cost, COST, "what it costs") * len(x)

    def on_threads(self, threads: int) -> OnnxNetwork:
        """A copy with a session of its own. Raises LabError for fewer than one thread."""
        copied = OnnxNetwork.__new__(OnnxNetwork)
        copied.__setstate__(copy.deepcopy(self.__getstate__()) | {"threads": some_threads(threads)})
        return copied

    @property
    def weight_count(self) -> int:
        """How many weights the exported network had."""
        return self._weights.count

    @property
    def weight_bits(self) -> float:
        """The mean bits of its weights."""
        return self._weights.bits

    @property
    def activation_bits(self) -> float:
        """The mean bits of what they multiply."""
        return self._weights.activation_bits

    @property
    def _weights(self) -> Weights:
        return self._stated(Weights, WEIGHTS, "how many weights it has")

    def _stated(self, kind: Callable[..., Stated], key: str, what: str) -> Stated:
        metadata = self.session.get_modelmeta().custom_metadata_map
        try:
            return kind(**json.loads(metadata[key]))
        except (KeyError, TypeError, ValueError):  # it is not there, or not as we wrote it
            problem = f"the ONNX file does not say {what}"
            raise LabError(problem, "write it by export_onnx") from None


def _session(file: Tensor, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its threads must not spin on into the turn of another network.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    content = file.cpu().numpy().tobytes()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def export_onnx(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> Path:
    """Write the network in eval mode as one ONNX file that takes float32 batches of any size.

    What was written is run and compared; its metadata holds the cost of one example. Raises
    LabError for a network that torch cannot export, or that is another one then.
    """
    path = Path(path)
    model = copy.deepcopy(model).cpu().float().eval()
    x = example(model, input_shape, batch=2)
    with torch.no_grad(), atomic_write(path) as temporary, quiet():
        try:
            batch = {0: torch.export.Dim("batch")}
            program = torch.onnx.export(
                model, (x,), dynamo=True, dynamic_shapes=(batch,), verbose=False
            )
        except Exception as error:  # the exporter's errors share no base but Exception
            problem = f"{type(model).__name__} cannot be exported ({type(error).__name__})"
            raise LabError(problem, "try one that torch.export takes") from None
        if program is None:
            raise LabError(f"{type(model).__name__} was not exported", "try another network")
        program.model.metadata_props.update(statements(model, input_shape))
        program.save(temporary, external_data=False)
        _check(model, OnnxNetwork(temporary), input_shape)
    return path


def exported(
    models: Mapping[str, nn.Module], input_shape: tuple[int, ...], folder: Path | str
) -> dict[str, OnnxNetwork]:
    """Networks as onnxruntime runs them; their files lie in the folder, by name.

    Raises LabError as `export_onnx` does.
    """
    paths = {name: Path(folder) / f"{name}.onnx" for name in models}
    return {
        name: OnnxNetwork(export_onnx(models[name], input_shape, path))
        for name, path in paths.items()
    }


def statements(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, str]:
    """What a file's metadata say: the cost of one example, and how many weights there are."""
    cost_of_one = json.dumps(asdict(cost(model, input_shape)))
    return {COST: cost_of_one, WEIGHTS: json.dumps(asdict(weights_of(model)))}


def _check(model: nn.Module, outside: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raises LabError unless both say the same of one image and of three."""
    for n in (1, 3):
        x = torch.rand(n, *input_shape, generator=torch.Generator().manual_seed(n))
        try:
            alike = torch.allclose(model(x), outside(x), rtol=1e-3, atol=1e-4)
        except RuntimeError:  # the network's own, for a batch that it does not take
            alike = False
        if not alike:
            problem = f"{type(model).__name__} says something else of a batch of {n} when exported"
            raise LabError(problem, "write its forward for batches of any size")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is told: exporters report their progress on every channel there is."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
