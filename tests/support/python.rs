//! The Python with the real Kadabra in it.
