//! Bounds: how many commands, terms and faults, so that all states can be visited. Each configuration concentrates on
//! some of the rules.

use crate::command::{Command, Op};
use crate::state::Left;
use crate::{Attempt, NodeId, Term};

/// What is in a run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: &'static str,
    /// It takes minutes: left to the program, the tests do without it.
    pub wide: bool,
    /// What it is for.
    pub about: &'static str,
    /// What clients ask.
    pub commands: Vec<Command>,
    /// Terms, the first one included.
    pub terms_max: Term,
    /// Nodes that stand for election; all three vote.
    pub candidates: Vec<NodeId>,
    /// Attempts of one command at most.
    pub attempts_max: Attempt,
    /// Entries in flight at most.
    pub entries_in_flight_max: usize,
    /// Several commands may share an entry.
    pub batches: bool,
    /// Raft looks at a handed-over entry later than it is handed over.
    pub queue: bool,
    /// The state is not read for a first attempt (`Number::first_attempt`); needs a network that delivers nothing
    /// twice.
    pub shortcut: bool,
    /// The nodes that have a session from the start.
    pub sessions: Vec<NodeId>,
    /// Faults.
    pub faults: Left,
}

const NONE: Left = Left { refusals: 0, duplicates: 0, restarts: 0, transfers: 0, sessions: 0, give_ups: 0 };

impl Config {
    fn new(name: &'static str, about: &'static str, commands: Vec<Command>) -> Self {
        Self {
            name,
            wide: false,
            about,
            commands,
            terms_max: 2,
            candidates: vec![0, 1],
            attempts_max: 2,
            entries_in_flight_max: 2,
            batches: false,
            queue: false,
            shortcut: true,
            sessions: vec![1],
            faults: NONE,
        }
    }
}

/// All configurations.
#[must_use]
pub fn all() -> Vec<Config> {
    vec![
        epochs(),
        epochs_wide(),
        leaders(),
        leaders_wide(),
        terms(),
        terms_wide(),
        deposed(),
        transfer(),
        reads(),
        reads_terms(),
        linearizable(),
        retries(),
        retries_wide(),
        duplicates(),
        acknowledged(),
        sessions(),
        replaced(),
        replaced_duplicates(),
        given_up(),
        restarts(),
        keys(),
        keyed_noops(),
    ]
}

/// The configuration called `name`.
#[must_use]
pub fn named(name: &str) -> Option<Config> {
    all().into_iter().find(|config| config.name == name)
}

/// Three commands on one register through node 1, two of them conditional.
fn conditional() -> Vec<Command> {
    vec![Command::new(Op::Insert, 1), Command::new(Op::Replace(0), 1), Command::new(Op::Put, 1)]
}

fn epochs() -> Config {
    Config {
        terms_max: 1,
        entries_in_flight_max: 3,
        attempts_max: 1,
        queue: true,
        faults: Left { refusals: 2, ..NONE },
        ..Config::new("epochs", "rules 1 to 3: refused and void entries, and the epochs behind them", conditional())
    }
}

fn epochs_wide() -> Config {
    Config { terms_max: 2, name: "epochs-wide", wide: true, ..epochs() }
}

fn leaders() -> Config {
    Config {
        attempts_max: 1,
        faults: Left { refusals: 1, ..NONE },
        ..Config::new(
            "leaders",
            "rules 1 to 3: what a deposed leader appended is lost or committed",
            conditional()[..2].to_vec(),
        )
    }
}

fn leaders_wide() -> Config {
    Config { commands: conditional(), candidates: vec![0, 1, 2], name: "leaders-wide", wide: true, ..leaders() }
}

fn terms() -> Config {
    Config {
        terms_max: 3,
        attempts_max: 1,
        queue: true,
        ..Config::new("terms", "rules 1 and 2: a node leads, is deposed, and leads again", conditional()[..2].to_vec())
    }
}

fn terms_wide() -> Config {
    Config { commands: conditional(), name: "terms-wide", wide: true, ..terms() }
}

fn deposed() -> Config {
    let commands = vec![
        Command::new(Op::Insert, 1).in_term(1),
        Command::new(Op::Replace(0), 1).in_term(1),
        Command::new(Op::Put, 1).in_term(2),
    ];
    Config {
        commands,
        name: "deposed",
        about: "rules 1 and 2: what was decided before a node was deposed, when it leads again",
        ..terms()
    }
}

fn transfer() -> Config {
    Config {
        attempts_max: 1,
        queue: true,
        faults: Left { refusals: 1, transfers: 1, ..NONE },
        ..Config::new("transfer", "rule 3: leadership is handed over", conditional()[..2].to_vec())
    }
}

fn reads() -> Config {
    let commands = vec![Command::new(Op::Put, 1), Command::new(Op::Insert, 2), Command::new(Op::Replace(0), 2)];
    Config {
        batches: true,
        attempts_max: 1,
        sessions: vec![1, 2],
        ..Config::new("reads", "rule 4: when a refusal may be answered", commands)
    }
}

fn reads_terms() -> Config {
    let commands = vec![Command::new(Op::Insert, 1), Command::new(Op::Replace(0), 0)];
    Config {
        terms_max: 3,
        attempts_max: 1,
        sessions: vec![0, 1],
        ..Config::new("reads-terms", "rule 4: answers of a term that is over", commands)
    }
}

fn linearizable() -> Config {
    let commands = vec![Command::new(Op::Put, 1), Command::new(Op::Read, 2), Command::new(Op::Read, 0).after(1)];
    Config {
        attempts_max: 1,
        ..Config::new("linearizable", "one read: on any node, over a change of leader", commands)
    }
}

fn retries() -> Config {
    Config {
        terms_max: 3,
        attempts_max: 3,
        faults: Left { refusals: 1, ..NONE },
        ..Config::new("retries", "rule 5: numbers and attempts over changes of leader", vec![Command::new(Op::Put, 1)])
    }
}

fn retries_wide() -> Config {
    Config {
        commands: vec![Command::new(Op::Put, 1), Command::new(Op::Insert, 1)],
        terms_max: 2,
        attempts_max: 2,
        name: "retries-wide",
        wide: true,
        ..retries()
    }
}

fn duplicates() -> Config {
    Config {
        shortcut: false,
        terms_max: 3,
        faults: Left { refusals: 1, duplicates: 2, ..NONE },
        ..Config::new(
            "duplicates",
            "rule 5: a network that delivers twice (first attempts are looked up)",
            vec![Command::new(Op::Put, 1)],
        )
    }
}

fn acknowledged() -> Config {
    let commands = vec![Command::new(Op::Put, 1), Command::new(Op::Insert, 1).after(0)];
    Config {
        batches: true,
        terms_max: 1,
        faults: Left { refusals: 1, give_ups: 1, ..NONE },
        ..Config::new("acknowledged", "rule 5: acknowledged ranges, requests that are given up", commands)
    }
}

fn sessions() -> Config {
    let commands = vec![Command::new(Op::Put, 1), Command::new(Op::Put, 2)];
    Config {
        batches: true,
        attempts_max: 1,
        terms_max: 1,
        sessions: vec![],
        ..Config::new("sessions", "rule 5: two nodes make their sessions", commands)
    }
}

fn replaced() -> Config {
    Config {
        sessions: vec![],
        faults: Left { sessions: 1, refusals: 1, ..NONE },
        ..Config::new(
            "replaced",
            "rule 5: a session is made twice, and the first one ends",
            vec![Command::new(Op::Put, 1)],
        )
    }
}

fn replaced_duplicates() -> Config {
    Config {
        name: "replaced-duplicates",
        about: "rule 5: the same over a network that delivers twice (first attempts are looked up)",
        shortcut: false,
        faults: Left { sessions: 1, refusals: 1, duplicates: 1, ..NONE },
        wide: true,
        ..replaced()
    }
}

fn given_up() -> Config {
    Config {
        faults: Left { refusals: 1, give_ups: 1, ..NONE },
        attempts_max: 2,
        ..Config::new("given-up", "rule 5: what a client is told at its deadline", vec![Command::new(Op::Put, 1)])
    }
}

fn restarts() -> Config {
    let commands = vec![Command::new(Op::Put, 1), Command::new(Op::Put, 1).after(0)];
    Config {
        faults: Left { restarts: 1, ..NONE },
        ..Config::new("restarts", "rule 5: a node restarts, its session ends", commands)
    }
}

fn keys() -> Config {
    let commands = vec![
        Command::new(Op::Put, 1).key(1, 1),
        Command::new(Op::Put, 2).key(1, 1),
        Command::new(Op::Put, 2).key(1, 2).after(0),
    ];
    Config {
        attempts_max: 1,
        sessions: vec![1, 2],
        ..Config::new("keys", "rule 6: clients send a request again under its idempotency key", commands)
    }
}

fn keyed_noops() -> Config {
    let commands = vec![
        Command::new(Op::Touch, 1).key(1, 1),
        Command::new(Op::Put, 1),
        Command::new(Op::Touch, 2).key(1, 1).after(0),
    ];
    Config {
        attempts_max: 1,
        sessions: vec![1, 2],
        ..Config::new("keyed-noops", "rule 6: a no-op is remembered too", commands)
    }
}
