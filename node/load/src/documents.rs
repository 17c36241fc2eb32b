//! The documents that a benchmark writes.

use bytes::Bytes;
use rand::RngExt;

/// From how many random characters contents are cut: enough that no two documents have much in common.
const POOL_CHARS: usize = 1 << 20;

/// Makes documents of one size.
#[derive(Debug)]
pub struct DocumentMaker {
    pool: Vec<u8>,
    bytes: usize,
}

impl DocumentMaker {
    /// Documents of so many bytes of JSON.
    pub fn new(bytes: u32) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut rng = rand::rng();
        let length = POOL_CHARS + bytes as usize;
        let pool = (0..length).map(|_| ALPHABET[usize::from(rng.random::<u8>() & 63)]).collect();
        Self { pool, bytes: bytes as usize }
    }

    /// A document, with an id if one is given. Its content is random text, so that compression does not flatter.
    pub fn make(&self, id: Option<&str>, rng: &mut impl rand::Rng) -> Bytes {
        let mut json = Vec::with_capacity(self.bytes + 64);
        json.push(b'{');
        if let Some(id) = id {
            json.extend_from_slice(format!("\"id\":\"{id}\",").as_bytes());
        }
        json.extend_from_slice(format!("\"n\":{},\"text\":\"", rng.random_range(0..1_000_000)).as_bytes());
        let length = self.bytes.saturating_sub(json.len() + 2);
        let from = rng.random_range(0..POOL_CHARS);
        json.extend_from_slice(&self.pool[from..from + length]);
        json.extend_from_slice(b"\"}");
        json.into()
    }
}

/// The id of the document with a number.
pub fn id(number: u64) -> String {
    format!("k{number:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_size_that_was_asked_for() {
        let mut rng = rand::rng();
        for bytes in [64, 1024] {
            let maker = DocumentMaker::new(bytes);
            for document_id in [None, Some(id(7))] {
                let json = maker.make(document_id.as_deref(), &mut rng);
                assert_eq!(json.len(), bytes as usize);
                let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
                assert_eq!(value["id"].as_str(), document_id.as_deref());
            }
        }
    }
}
