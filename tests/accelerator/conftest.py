from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def device() -> Iterator[torch.device]:
    """A CUDA device, without which tests are skipped; or what TMI_DEVICE names, where everything is in small."""
    name = os.environ.get("TMI_DEVICE", "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; TMI_DEVICE=cpu runs it in small")
    # The same kernels every time: what is compared is their order, not their rounding.
    deterministic = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield torch.device(name)
    torch.backends.cudnn.deterministic = deterministic


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """A CUDA device."""
    if device.type != "cuda":
        pytest.skip("of CUDA devices only")
    return torch.device("cuda", torch.cuda.current_device())
