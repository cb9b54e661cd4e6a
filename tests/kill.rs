//! Nothing lost, nothing doubled through kill -9.
