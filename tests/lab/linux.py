"""All scenarios of the lab's VM as Linux."""

from __future__ import annotations

from typing import List

from .certificates import CERTIFICATES, ON_LINUX
from .obstacles import OBSTACLES
from .scenarios import SCENARIOS, Broken

LINUX: List[Broken] = [*SCENARIOS, *OBSTACLES, *CERTIFICATES, *ON_LINUX]
