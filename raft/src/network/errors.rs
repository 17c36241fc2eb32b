//! What a failed call means to openraft: `Unreachable` backs off, `Network` is retried at once.

use std::time::Duration;

use openraft::RPCTypes;
use openraft::errors::{NetworkError, RPCError, Timeout, Unreachable};
use tonic::{Code, Status};

use crate::types::TypeConfig;

pub(crate) type RpcError = RPCError<TypeConfig>;

/// A stream or a connection that broke under way is tried again at once. Whatever will not be better at once
/// (nobody listens, a node that refuses, a message that it does not understand) backs off.
pub(crate) fn from_status(status: &Status) -> RpcError {
    let said = || format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Cancelled | Code::Unknown | Code::Internal | Code::Aborted | Code::DataLoss => broken(said()),
        _ => RPCError::Unreachable(Unreachable::from_string(said())),
    }
}

/// Something that was under way broke.
pub(crate) fn broken(detail: impl ToString) -> RpcError {
    RPCError::Network(NetworkError::from_string(detail))
}

/// No answer in time.
pub(crate) fn timeout(action: RPCTypes, from: u64, to: u64, timeout: Duration) -> RpcError {
    RPCError::Timeout(Timeout { action, id: from, target: to, timeout })
}
