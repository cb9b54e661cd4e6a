//! A clean end, flushed or given back, inside its deadline.
