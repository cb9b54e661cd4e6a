//! Unmodified Kadabra clients just work.
