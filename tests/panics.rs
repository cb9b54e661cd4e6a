//! A panic in any actor on any message: restarted, nothing lost.
