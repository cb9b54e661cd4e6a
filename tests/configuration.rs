//! A wrong configuration does not start; the documented one is the code's own.
