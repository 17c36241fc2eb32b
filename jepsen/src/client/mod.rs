//! A client of the public HTTP API that is honest about what it does not know.

mod answer;
mod http;
mod op;

pub use answer::{Answer, MALFORMED, is_definite};
pub use http::Client;
pub(crate) use http::describe;
pub use op::{Condition, Consistency, HISTORY_PAGE, Op, Query, Read};
