//! A real redis-server, on a free port, in a folder of its own.
