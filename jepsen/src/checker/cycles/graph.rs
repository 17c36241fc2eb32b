//! The graph of dependencies and the cycles in it: strongly connected parts by Tarjan, and in each the shortest cycle
//! of the worst sort.

use std::collections::{BTreeMap, HashSet, VecDeque};

/// How one transaction depends on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Edge {
    /// The second appended after the first.
    Ww,
    /// The second read what the first appended.
    Wr,
    /// The second appended what the first did not see.
    Rw,
    /// The second began after the first had ended.
    Rt,
}

impl Edge {
    /// The word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Edge::Ww => "ww",
            Edge::Wr => "wr",
            Edge::Rw => "rw",
            Edge::Rt => "rt",
        }
    }
}

/// A cycle: transactions, each with the edge to the next.
type Cycle = Vec<(usize, Edge)>;

/// The name of a cycle of these edges.
pub(super) fn class(edges: &[Edge]) -> &'static str {
    let number = |edge| edges.iter().filter(|other| **other == edge).count();
    match (number(Edge::Rw), number(Edge::Wr), number(Edge::Rt)) {
        (0, 0, 0) => "G0",
        (0, 0, _) => "G0-realtime",
        (0, _, 0) => "G1c",
        (0, _, _) => "G1c-realtime",
        (1, _, 0) => "G-single",
        (1, _, _) => "G-single-realtime",
        (_, _, 0) => "G2",
        (_, _, _) => "G2-realtime",
    }
}

/// Dependencies between transactions.
pub(super) struct Graph {
    edges: Vec<BTreeMap<usize, HashSet<Edge>>>,
}

impl Graph {
    /// No dependencies between so many.
    pub(super) fn new(transactions: usize) -> Self {
        Self { edges: vec![BTreeMap::new(); transactions] }
    }

    /// One more; nobody depends on itself.
    pub(super) fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to {
            self.edges[from].entry(to).or_default().insert(edge);
        }
    }

    /// A cycle of each strongly connected part, the worst that it holds: looked for with ever more sorts of edges,
    /// first without real time.
    pub(super) fn cycles(&self) -> Vec<Cycle> {
        let mut cycles = Vec::new();
        let mut told: HashSet<usize> = HashSet::new();
        for sorts in [
            &[Edge::Ww][..],
            &[Edge::Ww, Edge::Rt],
            &[Edge::Ww, Edge::Wr],
            &[Edge::Ww, Edge::Wr, Edge::Rt],
            &[Edge::Ww, Edge::Wr, Edge::Rw],
            &[Edge::Ww, Edge::Wr, Edge::Rw, Edge::Rt],
        ] {
            for part in self.strongly_connected(sorts) {
                if part.iter().any(|place| told.contains(place)) {
                    continue;
                }
                let inside: HashSet<usize> = part.iter().copied().collect();
                if let Some(cycle) = self.single(&inside, sorts).or_else(|| self.shortest(&inside, sorts)) {
                    told.extend(part);
                    cycles.push(cycle);
                }
            }
        }
        cycles
    }

    /// A cycle with one `rw` only, if there is one.
    fn single(&self, inside: &HashSet<usize>, sorts: &[Edge]) -> Option<Cycle> {
        if !sorts.contains(&Edge::Rw) {
            return None;
        }
        let others: Vec<Edge> = sorts.iter().copied().filter(|edge| *edge != Edge::Rw).collect();
        inside.iter().find_map(|from| {
            let anti = self.edges[*from].iter().filter(|(to, edges)| inside.contains(to) && edges.contains(&Edge::Rw));
            anti.into_iter().find_map(|(to, _)| {
                let path = self.path(*to, *from, inside, &others)?;
                Some(std::iter::once((*from, Edge::Rw)).chain(path).collect())
            })
        })
    }

    /// The shortest cycle through any transaction of a part.
    fn shortest(&self, inside: &HashSet<usize>, sorts: &[Edge]) -> Option<Cycle> {
        // From a few beginnings only: any cycle will do, short ones are easier to read.
        let cycles = inside.iter().take(20).filter_map(|from| {
            let next = self.edges[*from].iter().filter(|(to, _)| inside.contains(to));
            let cycles = next.filter_map(|(to, edges)| {
                let edge = *sorts.iter().find(|edge| edges.contains(edge))?;
                let path = self.path(*to, *from, inside, sorts)?;
                Some(std::iter::once((*from, edge)).chain(path).collect::<Cycle>())
            });
            cycles.min_by_key(Vec::len)
        });
        cycles.min_by_key(Vec::len)
    }

    /// The shortest way between two, by these sorts of edges: each transaction with the edge that leaves it.
    fn path(&self, from: usize, to: usize, inside: &HashSet<usize>, sorts: &[Edge]) -> Option<Cycle> {
        let mut came: BTreeMap<usize, (usize, Edge)> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(here) = queue.pop_front() {
            if here == to {
                let (mut path, mut at) = (Vec::new(), to);
                while at != from {
                    let (before, edge) = came[&at];
                    path.push((before, edge));
                    at = before;
                }
                path.reverse();
                return Some(path);
            }
            for (next, edges) in &self.edges[here] {
                let edge = sorts.iter().find(|edge| edges.contains(edge));
                if let Some(edge) = edge
                    && inside.contains(next)
                    && *next != from
                    && !came.contains_key(next)
                {
                    came.insert(*next, (here, *edge));
                    queue.push_back(*next);
                }
            }
        }
        None
    }

    /// Tarjan's strongly connected parts of more than one transaction. With a stack of its own: a chain of dependencies
    /// may be as long as the history.
    fn strongly_connected(&self, sorts: &[Edge]) -> Vec<Vec<usize>> {
        const NEW: usize = usize::MAX;
        let length = self.edges.len();
        let next: Vec<Vec<usize>> = self
            .edges
            .iter()
            .map(|edges| {
                let kept = edges.iter().filter(|(_, found)| sorts.iter().any(|sort| found.contains(sort)));
                kept.map(|(to, _)| *to).collect()
            })
            .collect();
        let (mut index, mut low, mut on_stack) = (vec![NEW; length], vec![0; length], vec![false; length]);
        let (mut stack, mut parts, mut counter) = (Vec::new(), Vec::new(), 0);
        for root in 0..length {
            if index[root] != NEW {
                continue;
            }
            let mut work = vec![(root, 0)];
            while let Some((here, at)) = work.pop() {
                if at == 0 {
                    (index[here], low[here], on_stack[here]) = (counter, counter, true);
                    counter += 1;
                    stack.push(here);
                }
                if let Some(to) = next[here].get(at).copied() {
                    work.push((here, at + 1));
                    if index[to] == NEW {
                        work.push((to, 0));
                    } else if on_stack[to] {
                        low[here] = low[here].min(index[to]);
                    }
                    continue;
                }
                if let Some((above, _)) = work.last() {
                    low[*above] = low[*above].min(low[here]);
                }
                if low[here] == index[here] {
                    let begin = stack.iter().rposition(|place| *place == here).unwrap_or(0);
                    let part = stack.split_off(begin);
                    part.iter().for_each(|place| on_stack[*place] = false);
                    if part.len() > 1 {
                        parts.push(part);
                    }
                }
            }
        }
        parts
    }
}
