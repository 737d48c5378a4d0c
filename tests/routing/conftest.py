"""The world that most cases begin in."""

import pytest

from tests.routing.world import World


@pytest.fixture
def world() -> World:
    return World()
