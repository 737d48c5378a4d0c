"""The world that most cases begin in."""

import pytest

from tests.data_plane.routing.world import World


@pytest.fixture
def world() -> World:
    return World()
