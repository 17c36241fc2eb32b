//! Runs, for people to read.

use std::fmt::{self, Display, Formatter};

use crate::command::{Command, Op, Source, Task};
use crate::machine::{Entry, Machine, Outcome};
use crate::raft::Applied;
use crate::state::{Fate, Progress, State};
use crate::{Action, Model, NodeId};

/// A run from the first state: what happened, one step a line, and what became of it.
pub struct Run<'a> {
    /// The model.
    pub model: &'a Model,
    /// The states, each with the step that followed.
    pub steps: &'a [(State, Option<Action>)],
}

impl Display for Run<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  requests:")?;
        for (id, command) in self.model.config.commands.iter().enumerate() {
            writeln!(f, "    c{id}  {}", asked(command))?;
        }
        writeln!(f, "  steps:")?;
        let steps = self.steps.iter().zip(self.steps.iter().skip(1));
        for (number, ((before, action), (after, _))) in steps.enumerate() {
            let Some(action) = action else { continue };
            writeln!(f, "    {:2}  {}{}", number + 1, self.step(before, action), self.answers(before, after))?;
        }
        let Some((last, _)) = self.steps.last() else { return Ok(()) };
        writeln!(f, "  the committed log:")?;
        let mut machine = Machine::default();
        for (index, entry) in last.committed.iter().enumerate() {
            let applied = self.model.apply(&mut machine, entry);
            writeln!(f, "    {index:2}  {}", logged(entry, applied))?;
        }
        writeln!(f, "  the clients:")?;
        for (id, progress) in last.requests.iter().enumerate() {
            writeln!(f, "    c{id}  {}", ended(progress))?;
        }
        Ok(())
    }
}

impl Run<'_> {
    fn step(&self, state: &State, action: &Action) -> String {
        let term = |node: NodeId| match &state.nodes[node as usize].core {
            Some(core) => format!("n{node} (leader of term {})", core.term),
            None => format!("n{node} (leads no longer)"),
        };
        match action {
            Action::Send { command, to } => {
                let node = self.model.config.commands[*command as usize].node;
                let attempt = match state.requests[*command as usize] {
                    Progress::Open(open) => open.attempt + 1,
                    _ => 1,
                };
                format!("n{node} sends c{command}, attempt {attempt}, to {}", term(*to))
            }
            Action::OpenSession { node, to } => format!("n{node} asks {} for a session", term(*to)),
            Action::Read { command } => format!("the read c{command} arrives"),
            Action::ReadIndex { command, leader, peer } => {
                format!("{} and n{peer} confirm a read index for c{command}", term(*leader))
            }
            Action::Reach { command } => format!("the node of c{command} has applied enough"),
            Action::TimeOut { command } => format!("the attempt at c{command} times out: its fate is unknown"),
            Action::OpeningTimesOut { node } => format!("n{node} stops waiting for its session"),
            Action::GiveUp { command } => format!("the deadline of c{command} passes"),
            Action::Deliver { request, again } => {
                let again = if *again { ", and will once more" } else { "" };
                format!("{} reaches {}{again}", task(&request.task), term(request.to))
            }
            Action::Decide { node } => format!("{} decides what was taken back", term(*node)),
            Action::HandOver { node } => format!("n{node} hands an entry to the log"),
            Action::Take { node, position, refuse } => {
                let seq = self.in_flight(state, *node, *position);
                let refuse = if *refuse { "refuses it: no lease" } else { "takes it, if it may" };
                format!("the log of {} looks at the entry {seq} and {refuse}", term(*node))
            }
            Action::Commit { node, peer } => {
                let count = self.model.commits(state, *node);
                format!("{} commits {count} more with n{peer}", term(*node))
            }
            Action::Apply { node } => format!("n{node} applies index {}", state.nodes[*node as usize].applied),
            Action::Handed { node } => {
                let result = match self.model.result(state, *node) {
                    Some(Some(Ok(applied))) => format!("{applied:?}"),
                    Some(Some(Err(end))) => format!("refused, {end:?}"),
                    _ => "discarded".to_owned(),
                };
                format!("n{node} hears of the entry {}: {result}", self.in_flight(state, *node, 0))
            }
            Action::Begin { node } => format!("{} begins to decide", term(*node)),
            Action::GoOn { node, .. } => format!("{}: a ReadIndex succeeds, another epoch begins", term(*node)),
            Action::Confirm { node, answer, peer } => {
                let answer = state.nodes[*node as usize].confirming[*answer];
                let by = match peer == node {
                    true => "without a ReadIndex that began after the decision".to_owned(),
                    false => format!("after a ReadIndex with n{peer}"),
                };
                format!("{} answers what was decided in term {}, {by}", term(*node), answer.term)
            }
            Action::Unconfirmed { node, .. } => format!("n{node}: a ReadIndex fails, the command goes back"),
            Action::Round { node, peer } => format!("n{peer} answers a ReadIndex of {}", term(*node)),
            Action::Elect { node, peer, tail } => {
                let tail = match tail.len() {
                    0 => "with nothing uncommitted".to_owned(),
                    count => format!("with {count} uncommitted entries"),
                };
                let newest = state.nodes.iter().map(|node| node.term).max().unwrap_or(0);
                format!("n{node} is elected for term {} by n{peer}, {tail}", newest + 1)
            }
            Action::StepDown { node } => format!("n{node} hears of a later term"),
            Action::Hear { node } => format!("the tasks of n{node} hear who leads"),
            Action::Drain { node } => format!("{}: a promotion stops the intake", term(*node)),
            Action::Transfer { node } => format!("{} hands leadership over", term(*node)),
            Action::Restart { node } => format!("n{node} is killed and starts again"),
        }
    }

    /// The `seq` of an entry in flight.
    fn in_flight(&self, state: &State, node: NodeId, position: usize) -> String {
        let epoch = state.nodes[node as usize].lead.as_ref().and_then(|lead| lead.epoch.as_ref());
        let entry = epoch.and_then(|epoch| epoch.in_flight.get(position));
        entry.map_or_else(String::new, |entry| match entry.fate {
            Fate::At(index) => format!("seq {} at index {index}", entry.seq),
            Fate::Queued | Fate::Refused(_) => format!("seq {}", entry.seq),
        })
    }

    /// What clients heard in a step.
    fn answers(&self, before: &State, after: &State) -> String {
        let changed = before.requests.iter().zip(&after.requests).enumerate();
        let ends =
            |progress: &Progress| !matches!(progress, Progress::Idle | Progress::Open(_) | Progress::Reading { .. });
        let heard = changed.filter(|(_, (before, after))| before != after && ends(after));
        heard.map(|(id, (_, after))| format!("  => c{id} {}", ended(after))).collect()
    }
}

fn asked(command: &Command) -> String {
    let op = match command.op {
        Op::Put => "writes".to_owned(),
        Op::Insert => "writes if there is nothing".to_owned(),
        Op::Replace(former) => format!("writes if c{former} wrote last"),
        Op::Touch => "changes nothing".to_owned(),
        Op::Read => "reads".to_owned(),
    };
    let key = command.key.map_or_else(String::new, |(key, body)| format!(", with key {key} and body {body}"));
    let after = command.after.map_or_else(String::new, |former| format!(", once c{former} has ended"));
    format!("{op}, through n{}{key}{after}", command.node)
}

fn source(source: Source) -> String {
    match source {
        Source::Client(command) => format!("c{command}"),
        Source::Node(node) => format!("a session for n{node}"),
    }
}

fn task(task: &Task) -> String {
    let place = task.place.map_or_else(String::new, |(session, number)| format!(" as {session}.{number}"));
    format!("{}{place}, attempt {} for term {},", source(task.source), task.attempt, task.term)
}

fn logged(entry: &Entry, applied: Applied) -> String {
    let Some(batch) = &entry.batch else { return format!("term {}  the first entry of its term", entry.term) };
    let effects = batch.effects.iter().map(|effects| {
        let place = effects.place.map_or_else(String::new, |(session, number)| format!(" as {session}.{number}"));
        format!("{}{place}: {}", source(effects.source), came_to(effects.outcome))
    });
    let acks = batch.acks.iter().map(|(session, numbers)| format!("session {session} acknowledges {numbers:#b}"));
    let what: Vec<String> = effects.chain(acks).collect();
    let (decided, base) = (batch.decided_term, batch.base_seq);
    format!("term {}  {applied:?}: {} (decided in term {decided} on seq {base})", entry.term, what.join("; "))
}

fn came_to(outcome: Outcome) -> String {
    match outcome {
        Outcome::Written { revision } => format!("written at revision {revision}"),
        Outcome::Noop { revision } => format!("unchanged at revision {revision}"),
        Outcome::Refused { revision, found: None } => format!("refused at revision {revision}: there is nothing"),
        Outcome::Refused { revision, found: Some(by) } => format!("refused at revision {revision}: c{by} wrote last"),
        Outcome::Value { revision, found: None } => format!("nothing is there at revision {revision}"),
        Outcome::Value { revision, found: Some(by) } => format!("c{by} wrote last, at revision {revision}"),
        Outcome::KeyReused { revision } => format!("refused at revision {revision}: the key had another body"),
        Outcome::Opened { session } => format!("session {session}"),
    }
}

fn ended(progress: &Progress) -> String {
    match progress {
        Progress::Idle => "was not sent".to_owned(),
        Progress::Open(_) | Progress::Reading { .. } => "waits".to_owned(),
        Progress::Done { outcome, attempt } => format!("answered: {} (attempt {attempt})", came_to(*outcome)),
        Progress::Unknown => "504: its fate is unknown".to_owned(),
        Progress::NotTaken => "503: it was not taken".to_owned(),
    }
}
