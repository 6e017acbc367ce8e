# SPDX-License-Identifier: Apache-2.0
"""The fault harness: it breaks one thing in one state of a migration.

``python -m nova_blockcopy.tests.faults`` runs all cells of the table, on labs
of its own. ``python -m nova_blockcopy.tests.faults.soak`` runs migrations with
random faults.
"""
