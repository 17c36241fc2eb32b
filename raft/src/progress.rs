//! How far this node has applied the log.

/// The last entry applied, and the revision after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) revision: u64,
}

impl Applied {
    pub(crate) fn of(meta: &aerodb_proto::StateMeta) -> Self {
        let id = meta.applied.unwrap_or_default();
        Self { term: id.term, index: id.index, revision: meta.revision }
    }
}
