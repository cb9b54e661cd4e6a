//! What the agent says of itself: its log, lasting conditions, its ledger, and systemd.
