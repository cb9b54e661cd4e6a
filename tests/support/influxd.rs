//! A real influxd, on free ports, in a folder of its own.
