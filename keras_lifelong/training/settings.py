"""What the user asks of `fit`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Settings:
    """What the user asked of `fit`, for every phase that does not say otherwise."""

    epochs: int = 1
    batch_size: int = 32
    shuffle: bool = True
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    validation_freq: int | list[int] = 1
    validation_batch_size: int | None = None
    validation_steps: int | None = None

    def validates(self, epoch: int) -> bool:
        """Whether validation data is scored after that epoch, counted from 0."""
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def check_validates(self, what: str):
        """Raises a ValueError if no epoch is validated, which `what` asks for."""
        if not any(map(self.validates, range(self.initial_epoch, self.epochs))):
            raise ValueError(
                f"{what} is chosen from by validation data: `validation_freq` must "
                f"name one of the {self.epochs} epochs. "
                f"Received: {self.validation_freq!r}."
            )
