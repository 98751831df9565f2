"""What every part of the configuration shares."""

import hashlib
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class ConfigPart(BaseModel):
    """Base of all parts: unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of this part: equal settings, equal digest."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()
