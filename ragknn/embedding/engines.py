"""What runs a model, as an embedder tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Backend: TypeAlias = Literal["auto", "torch", "openvino"]
"""What runs a model: torch, OpenVINO on a CPU, or the quickest that is installed and gives the same vectors."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs a model.

    Attributes:
        backend: "torch" or "openvino".
        device: where, such as "cpu" or "cuda:0".
        precision: numbers that it computes with, such as "float32" or "bf16". Vectors are float32 always.
        reason: why it was taken.
    """

    backend: Literal["torch", "openvino"]
    device: str
    precision: str
    reason: str

    def __str__(self) -> str:
        return f"{self.backend} on {self.device}, {self.precision}: {self.reason}"
