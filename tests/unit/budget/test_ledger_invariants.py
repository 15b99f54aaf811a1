"""The ledger's invariants, I1–I5, I7, I8 and I10–I12, under arbitrary histories and beside a plain model."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.unit.budget.simulation.ledger_machine import LedgerMachine

EXAMPLES = int(os.environ.get("DAC_LEDGER_EXAMPLES", "200"))

LedgerMachine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=50, deadline=None)
TestLedger = pytest.mark.timeout(240)(LedgerMachine.TestCase)
