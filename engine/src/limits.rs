//! Every bound of the engine, in one place (A6). The unit is the last word of each name.

/// What a request may ask for at most. Past a bound there is a clear error and nothing lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A document as it is stored, bytes.
    pub document_bytes_max: usize,
    /// A command as it travels to the leader, bytes.
    pub command_bytes_max: usize,
    /// Nesting of a JSON document, levels.
    pub json_depth_max: usize,
    /// Documents of one insert.
    pub insert_documents_max: usize,
    /// Operations of one transaction.
    pub transaction_operations_max: usize,
    /// Documents that one transaction reads and writes, bytes.
    pub transaction_bytes_max: usize,
    /// Documents that one command may change by a filter.
    pub bulk_documents_max: usize,
    /// Index entries that one command adds and removes, bytes. With its documents they stay below what an entry of the log may take.
    pub command_entries_bytes_max: usize,
    /// Entries that one command may add to indexes and remove from them: each is looked for and written by itself.
    pub command_entries_max: usize,
    /// Items of a page when the request names no number.
    pub page_items_default: usize,
    /// Items of a page at most.
    pub page_items_max: usize,
    /// Items that `offset` may skip.
    pub page_offset_max: usize,
    /// Bytes of a page's documents at most; the page ends early and says where to go on.
    pub page_bytes_max: usize,
    /// Events of one reading of the change feed.
    pub changes_page_max: usize,
    /// Time that one query may run, milliseconds.
    pub query_ms_max: u64,
    /// Groups that a query keeps in memory, bytes.
    pub query_bytes_max: usize,
    /// Documents that a query may meet through an index that leads to some more than once.
    pub query_ids_max: usize,
    /// Threads that help queries which look at very many documents, for all queries together.
    pub query_helpers_max: usize,
    /// Collections of a cluster.
    pub collections_max: usize,
    /// Indexes of a collection.
    pub indexes_max: usize,
    /// References that a collection has, and that lead to one: every delete there asks each of them.
    pub references_max: usize,
    /// Ids and index entries that one command looks up for references: what is decided holds up all that comes behind.
    pub reference_lookups_max: usize,
    /// Bytes of remembered idempotency keys.
    pub idempotency_bytes_max: u64,
    /// How long an idempotency key is remembered, milliseconds.
    pub idempotency_ms: u64,
    /// Documents that were written or fetched last and are kept in memory, bytes.
    pub document_cache_bytes_max: usize,
    /// History kept when a collection names no other time, seconds.
    pub history_seconds_default: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes_max: 1 << 20,
            command_bytes_max: 8 << 20,
            json_depth_max: 64,
            insert_documents_max: 1_000,
            transaction_operations_max: 1_000,
            transaction_bytes_max: 8 << 20,
            bulk_documents_max: 2_000,
            command_entries_bytes_max: 6 << 20,
            command_entries_max: 50_000,
            page_items_default: 100,
            page_items_max: 1_000,
            page_offset_max: 100_000,
            page_bytes_max: 32 << 20,
            changes_page_max: 1_000,
            query_ms_max: 30_000,
            query_bytes_max: 64 << 20,
            query_ids_max: 1_000_000,
            query_helpers_max: std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1),
            collections_max: 1_000,
            indexes_max: 64,
            references_max: 32,
            reference_lookups_max: 20_000,
            idempotency_bytes_max: 256 << 20,
            idempotency_ms: 24 * 3_600 * 1_000,
            document_cache_bytes_max: 32 << 20,
            history_seconds_default: 3_600,
        }
    }
}
