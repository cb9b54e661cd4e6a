//! How long does a message take from decoded to line protocol?
fn main() {}
