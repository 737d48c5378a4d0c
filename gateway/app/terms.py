"""What launches cost and give away, from the settings, for the service and for commands."""

from __future__ import annotations

from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.demand.launch_mails import LaunchTerms
from gateway.settings import Settings


def make_gpu_terms(settings: Settings) -> GpuTerms:
    """Return what a model's GPU costs, and what its launch gives away."""
    return GpuTerms(
        nanos_per_hour=settings.gpu_nanos_per_hour,
        launch_credit_nanos=settings.launch_credit_nanos,
    )


def launch_terms(settings: Settings) -> LaunchTerms:
    """Return the credit that comes with a launch, and how fast its mails are sent."""
    return LaunchTerms(
        gift=Gift(
            nanos=settings.launch_credit_nanos,
            days=settings.signup_credit_days,
            day_nanos=settings.promotion_nanos_per_day,
        ),
        wave_mails=settings.launch_wave_mails,
        wave_seconds=settings.launch_wave_seconds,
        pending_max=settings.launch_pending_max,
    )
