//! Compiles the .proto files with a compiler written in Rust, so that no `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["command.proto", "log.proto", "peer.proto"].map(|f| format!("proto/aerodb/v1/{f}"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    // Maps in the order of their keys: equal messages have equal bytes, on every node.
    let mut config = tonic_prost_build::configure().bytes(".").btree_map(".");
    // Rare and large: every effect and every outcome would carry room for them.
    for rare in ["Collection.schema", "Collection.next_schema"] {
        config = config.boxed(format!("aerodb.v1.{rare}"));
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
