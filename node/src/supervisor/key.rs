//! The service key of a local cluster: given, or made at the first start and shown once.

use crate::exit::Advice;
use crate::secret::{self, Secret};

/// Where the key of this start comes from.
#[derive(Debug)]
pub(super) enum Key {
    /// From the environment; its owner knows it.
    Given(Secret),
    /// Made just now; nobody knows it yet.
    Generated(Secret),
    /// The cluster has one from its first start, which is not kept here.
    Kept,
}

impl Key {
    /// The key to start with.
    pub(super) fn find(initialised: bool, given: Option<String>) -> Result<Self, Advice> {
        match given.map(|key| Secret::new(&key)).filter(|key| !key.expose().is_empty()) {
            Some(key) if !secret::is_header_safe(key.expose()) => {
                Err(Advice::usage("AERODB_SERVICE_KEY cannot be sent")
                    .why("a key has printable ASCII characters and no spaces")
                    .remedy("unset it and one is generated and shown"))
            }
            Some(key) => Ok(Self::Given(key)),
            None if initialised => Ok(Self::Kept),
            None => Ok(Self::Generated(generate())),
        }
    }

    /// The key, if this process knows it.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Given(key) | Self::Generated(key) => Some(key),
            Self::Kept => None,
        }
    }
}

fn generate() -> Secret {
    let random: [u8; 32] = rand::random();
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Secret::new(&format!("aero_sk_{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_key_comes_from() {
        assert!(matches!(Key::find(true, None).unwrap(), Key::Kept));
        assert!(matches!(Key::find(true, Some("0123456789abcdef".into())).unwrap(), Key::Given(_)));
        assert!(matches!(Key::find(false, Some("".into())).unwrap(), Key::Generated(_)));
        assert!(Key::find(false, Some("with space".into())).is_err());
        let (a, b) = (generate(), generate());
        assert!(a.expose().starts_with("aero_sk_") && a.expose().len() == 8 + 64 && a != b);
    }
}
