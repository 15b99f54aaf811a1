"""The operator's entailment model as the checks use it: one that cannot be used is told of once, and asked no more."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Sequence

from services.gateway.validation.nli_onnx import NliOnnx, UnusableModelError

_log = logging.getLogger("dac.gateway.validation")


class Inference:
    """See `services.gateway.validation.subject.Nli`."""

    def __init__(self, path: pathlib.Path) -> None:
        self._model: NliOnnx | None = NliOnnx(path)

    async def entailment(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float] | None:
        """How likely each hypothesis follows from its premise; None = the model cannot be asked."""
        if self._model is None:
            return None
        try:
            return await self._model.entailment(pairs)
        except UnusableModelError as error:
            _log.error("validation_nli_path cannot be used, support is checked without it: %s", error)
            self.close()
            return None

    def close(self) -> None:
        """Ends its thread."""
        if self._model is not None:
            self._model.close()
            self._model = None
