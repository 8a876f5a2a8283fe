//! What one operation of each primitive costs.

fn main() {}
