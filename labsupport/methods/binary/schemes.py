"""The binarizations of the literature as values; others follow by `dataclasses.replace`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from labsupport.core.errors import LabError
from labsupport.methods.binary.scales import LossAware, MeanMagnitude, Scale, Unscaled


@dataclass(frozen=True)
class Scheme:
    """How a network is binarized.

    `scale` gives the factors of the weights' signs. Inputs of layers are signs whose gradients pass
    where |x| <= `window`; without a window they stay real. `scales_inputs` multiplies by K, the
    mean |x| of what a filter sees. `keeps_ends` leaves the first and the last layer in floats;
    otherwise the first has binary weights, and takes images as they are, or with `signs_images`
    their signs. `drops_relu` takes modules nn.ReLU out: signs are the only nonlinearity. Raises
    LabError for a window that is not above 0, and for K of inputs that are real.
    """

    name: str
    scale: Scale = field(default_factory=Unscaled)
    window: float | None = None
    scales_inputs: bool = False
    keeps_ends: bool = False
    signs_images: bool = False
    drops_relu: bool = False

    def __post_init__(self) -> None:
        if self.window is not None and not self.window > 0:
            raise LabError(f"a window of {self.window}", "give one above 0, or none: window=None")
        if self.scales_inputs and self.window is None:
            problem = f"{self.name} scales inputs that are real"
            raise LabError(problem, "give a window, which makes them signs")

    @property
    def of_images(self) -> Scheme:
        """The scheme of a first layer."""
        if self.signs_images:
            return self
        return replace(self, window=None, scales_inputs=False)


# Courbariaux et al. 2016, "Binarized neural networks".
BNN = Scheme("BNN", window=1.0, drops_relu=True)
BNN_OF_SIGNS = replace(BNN, name="BNN of signs", signs_images=True)  # binary throughout
# Rastegari et al. 2016, "XNOR-Net", sections 3.1 and 3.2.
BWN = Scheme("BWN", MeanMagnitude(), keeps_ends=True)
XNOR = replace(BWN, name="XNOR", window=1.0, scales_inputs=True)
# As most implementations have it: K costs more than it brings (Bulat and Tzimiropoulos 2019).
XNOR_WITHOUT_K = replace(XNOR, name="XNOR without K", scales_inputs=False)
# Hou et al. 2017, "Loss-aware binarization of deep networks": weights, and inputs as well.
LAB = Scheme("LAB", LossAware())
LAB2 = replace(LAB, name="LAB2", window=1.0, drops_relu=True)
