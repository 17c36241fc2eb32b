//! A command on its way to a decision, and the way back to whoever sent it.

use std::sync::Arc;

use aerodb_proto as proto;
use proto::{Command, ForwardedAnswer, NumberRange, Outcome, forwarded_answer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A command's place in its session, and which attempt this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 0 for commands of the nodes themselves, which are not numbered.
    pub(crate) session: u64,
    pub(crate) number: u64,
    pub(crate) attempt: u32,
}

/// A command to decide.
pub(crate) struct Task {
    pub(crate) place: Place,
    /// The term in which it may be decided, and in no other.
    pub(crate) term: u64,
    pub(crate) command: Arc<Command>,
    /// The command's size as it travels.
    pub(crate) bytes: usize,
    /// When it came here.
    pub(crate) arrived: Instant,
    /// Numbers of the session whose answers have arrived.
    pub(crate) acknowledged: Vec<NumberRange>,
    pub(crate) reply: Reply,
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// It is decided, and the answer may be given.
    Outcome(Outcome),
    /// This attempt was not handed to the log: it may be sent elsewhere.
    NotTaken {
        /// There is no room; wait before sending again.
        overloaded: bool,
    },
    /// The session has ended.
    SessionGone,
    /// It was handed to the log and its fate is not known.
    Unknown,
    /// The number was acknowledged, or a later attempt has come: nobody waits.
    Stale,
}

/// The way back. Dropped without an answer it says that the fate is unknown.
pub(crate) struct Reply(Option<Way>);

enum Way {
    Here(oneshot::Sender<Answer>),
    Stream { place: Place, answers: mpsc::UnboundedSender<ForwardedAnswer> },
}

impl Reply {
    /// A way back within this node.
    pub(crate) fn here() -> (Self, oneshot::Receiver<Answer>) {
        let (tx, rx) = oneshot::channel();
        (Self(Some(Way::Here(tx))), rx)
    }

    /// A way back over the stream that the command came on.
    pub(crate) fn stream(place: Place, answers: mpsc::UnboundedSender<ForwardedAnswer>) -> Self {
        Self(Some(Way::Stream { place, answers }))
    }

    /// Gives the answer. Whoever asked may be gone; that is its own business.
    pub(crate) fn send(mut self, answer: Answer) {
        self.give(answer);
    }

    fn give(&mut self, answer: Answer) {
        match self.0.take() {
            None => {}
            Some(Way::Here(tx)) => drop(tx.send(answer)),
            Some(Way::Stream { place, answers }) => drop(answers.send(to_wire(place, answer))),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.give(Answer::Unknown);
    }
}

fn to_wire(place: Place, answer: Answer) -> ForwardedAnswer {
    use forwarded_answer::Result as Wire;
    let result = match answer {
        Answer::Outcome(outcome) => Wire::Outcome(outcome),
        Answer::NotTaken { overloaded } => Wire::NotTaken(proto::NotTaken { overloaded, ..Default::default() }),
        Answer::SessionGone => Wire::SessionGone(true),
        Answer::Unknown => Wire::Unknown(true),
        Answer::Stale => Wire::Stale(true),
    };
    let Place { session, number, attempt } = place;
    ForwardedAnswer { session, number, attempt, result: Some(result) }
}

impl Answer {
    /// The answer that came over a stream; one of a newer version tells nothing.
    pub(crate) fn from_wire(result: Option<forwarded_answer::Result>) -> Self {
        use forwarded_answer::Result as Wire;
        match result {
            Some(Wire::Outcome(outcome)) => Self::Outcome(outcome),
            Some(Wire::NotTaken(not_taken)) => Self::NotTaken { overloaded: not_taken.overloaded },
            Some(Wire::SessionGone(_)) => Self::SessionGone,
            Some(Wire::Stale(_)) => Self::Stale,
            Some(Wire::Unknown(_)) | None => Self::Unknown,
        }
    }
}
