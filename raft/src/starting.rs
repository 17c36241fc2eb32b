//! What a node that starts is doing or waiting for, in words for whoever asks why it does not serve yet.

use std::sync::Arc;

use tokio::sync::watch;

/// Says what a starting node is at. Cheap to clone; all clones say the same.
#[derive(Clone, Debug)]
pub struct Starting {
    text: Arc<watch::Sender<Arc<str>>>,
}

impl Default for Starting {
    fn default() -> Self {
        Self { text: Arc::new(watch::Sender::new("the node opens its data".into())) }
    }
}

impl Starting {
    /// What the node is at now.
    pub fn text(&self) -> Arc<str> {
        self.text.borrow().clone()
    }

    /// From now on it is at this. True when it was at something else before.
    pub(crate) fn say(&self, text: &str) -> bool {
        self.text.send_if_modified(|now| {
            let other = &**now != text;
            if other {
                *now = text.into();
            }
            other
        })
    }
}
