"""A plugin for pytest: hypothesis draws the same each time, and knows no deadline.

`pytest -p testing.mutation.patient`; or a busy machine would seem to notice a change.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "patient", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
