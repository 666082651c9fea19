"""Who makes the shadow models: this package's own networks, the user's functions, or a checkpoint that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tmi.config import Config
    from tmi.shadows.makers.maker import ShadowMaker


def maker_of(config: Config) -> type[ShadowMaker]:
    """Who makes the models of a configuration; the only place that decides it."""
    if config.recipe is not None:
        from tmi.shadows.makers.user_functions import UserFunctions

        return UserFunctions
    from tmi.shadows.makers.own_networks import GivenCheckpoint, OwnNetworks

    return GivenCheckpoint if config.given else OwnNetworks
