//! A door for the fuzz targets (`fuzz/`) into what is nobody else's business. Not part of the interface.

use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;

use crate::snapshot::manifest as snapshot;
use crate::{convert, network};

/// Reads an entry of the log as it is stored and sent, and writes it again.
///
/// # Errors
/// When it is none.
pub fn log_entry(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let entry = convert::decode_entry(Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())?;
    Ok(convert::encode_entry(&entry).to_vec())
}

/// Reads the manifest of a snapshot, as it comes from another node, and judges it.
///
/// # Errors
/// When it is none, or one that could not have been made.
pub fn manifest(bytes: &[u8]) -> Result<(), String> {
    let manifest = proto::SnapshotManifest::decode(bytes).map_err(|error| error.to_string())?;
    snapshot::check(&manifest).map_err(|error| error.to_string())?;
    snapshot::meta(&manifest).map_err(|error| error.to_string())?;
    assert!(!snapshot::name(&manifest).contains('/'), "its name is that of a folder");
    Ok(())
}

/// Reads what a leader sends to a follower.
///
/// # Errors
/// When it is nothing that a leader sends.
pub fn append(bytes: &[u8]) -> Result<(), String> {
    let request = proto::AppendRequest::decode(bytes).map_err(|error| error.to_string())?;
    network::append_from_wire(request).map(drop).map_err(|status| status.message().to_owned())
}
