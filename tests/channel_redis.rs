//! The Redis channel: leases, atomic steps, recovery, adoption, and what it says of a Redis that cannot be used.
