//! `cargo run -p jepsen -- --help`.

fn main() {}
