"""No action of the back office is without a story in a browser."""

from testing.admin_stories import actions
from tests.stories import test_passkeys
from tests.stories.admin import test_accounts, test_money, test_service


def test_each_action_has_its_story():
    modules = (test_accounts, test_money, test_service, test_passkeys)
    stories = [story for module in modules for story in vars(module).values()]
    told = {action for story in stories for action in getattr(story, "tells", ())}
    assert told == actions()
