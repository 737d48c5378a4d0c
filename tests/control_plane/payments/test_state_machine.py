"""Money comes in, in any order, while anything fails: payments against what Stripe truly received.

The auditor (testing/payments.py) reads the fake Stripe's objects. After every step no payment may
have more credit than was received for it, and every invariant of the ledger holds; after a sweep
all credit is exactly what is left of what was received. The same steps run over a naive handler,
which the auditor must catch: see the last test.
"""

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import insert, select, update

from gateway.control_plane.payments import auto_top_up, events
from gateway.control_plane.payments.auto_top_up import TopUpRules
from gateway.fake_stripe import cards, disputes
from gateway.fake_stripe.refusals import ApiRefusal
from gateway.fake_stripe.store import Item
from gateway.identifiers import new_id
from gateway.storage.ledger import freezes, grants, payments
from gateway.storage.ledger.upkeep import reap
from gateway.storage.tables import (
    accounts,
    credit_lots,
    payment_customers,
    stripe_events,
)
from gateway.storage.tables import payments as payment_rows
from testing.payments import CENT_NANOS, purchases, what_is_missing, what_is_wrong
from tests.control_plane.payments.faults import ANYWHERE, AT_STRIPE, Fault
from tests.control_plane.payments.machine import Door, Gateway, World
