"""The run folder: its plan, policy, records and journal. No torch, no numpy."""
