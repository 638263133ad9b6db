"""What augmentation takes from elsewhere, in memory: environments, pictures, pieces of other samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainer.augmentation.donors import DonorBank
from trainer.augmentation.occluders import EnvironmentBank
from trainer.augmentation.pictures import PictureBank


@dataclass(frozen=True)
class Banks:
    """None where no stage that is on needs one."""

    environments: EnvironmentBank | None = None
    pictures: PictureBank | None = None
    donors: DonorBank | None = None

    def to(self, device: torch.device) -> Banks:
        return Banks(
            self.environments.to(device) if self.environments else None,
            self.pictures.to(device) if self.pictures else None,
            self.donors.to(device) if self.donors else None,
        )
