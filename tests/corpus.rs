//! Every message a real client queued gives the points the Python agent stored; every hostile one what it deserves.
