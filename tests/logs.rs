//! What the agent logs, in which form, and how often.
