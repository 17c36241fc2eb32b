//! Cells, which are a workload under a nemesis, and the sets of them that are run for a purpose.

use anyhow::{Context, Result, bail};

/// One run of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What clients do.
    pub workload: String,
    /// What goes wrong.
    pub nemesis: String,
    /// Seconds of load, if the cell says so itself.
    pub time_s: Option<u64>,
    /// Nodes, if the cell says so itself.
    pub nodes: Option<usize>,
}

impl Cell {
    /// Reads `WORKLOAD:NEMESIS[:SECONDS[:NODES]]`.
    ///
    /// # Errors
    /// When it is none, or names what there is not.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let (Some(workload), Some(nemesis)) = (parts.next(), parts.next()) else {
            bail!("{text:?} is no cell: it is WORKLOAD:NEMESIS[:SECONDS[:NODES]]");
        };
        let number = |part: Option<&str>| {
            part.map(|part| part.parse::<u64>().with_context(|| format!("{part:?} in {text:?} is no number")))
                .transpose()
        };
        let (time_s, nodes) = (number(parts.next())?, number(parts.next())?);
        if let Some(more) = parts.next() {
            bail!("{more:?} in {text:?} is too much: it is WORKLOAD:NEMESIS[:SECONDS[:NODES]]");
        }
        crate::workload::named(workload)?;
        crate::nemesis::needs(nemesis)?;
        let nodes = nodes.map(usize::try_from).transpose()?;
        Ok(Self { workload: workload.to_owned(), nemesis: nemesis.to_owned(), time_s, nodes })
    }
}

/// Cells with one purpose.
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The cells.
    pub cells: &'static [&'static str],
}

/// All sets.
pub const SETS: &[Set] = &[
    Set {
        name: "ci",
        about: "on each change: the cells that found most, short",
        cells: &[
            "session:pause-leader:20",
            "counter:partition:20",
            "register:power-all:25",
            "feed:kill-leader:20",
            "paging:snapshot:25",
            "model:corrupt:30",
        ],
    },
    Set {
        name: "daily",
        about: "every workload with every fault that finds something in it",
        cells: &[
            "register:none",
            "register:partition",
            "register:link",
            "register:kill",
            "register:pause",
            "register:power",
            "register:clock",
            "register:corrupt",
            "set:none",
            "set:partition",
            "set:kill",
            "set:power",
            "set:snapshot",
            "set:corrupt",
            "set:disk",
            "set:disk-full",
            "append:none",
            "append:partition",
            "append:kill",
            "append:pause",
            "append:power",
            "append:clock",
            "append:snapshot",
            "bank:none",
            "bank:partition",
            "bank:kill",
            "bank:power",
            "counter:none",
            "counter:partition",
            "counter:link",
            "counter:kill",
            "counter:pause",
            "counter:power",
            "feed:none",
            "feed:partition",
            "feed:link",
            "feed:kill",
            "feed:pause",
            "feed:power",
            "feed:snapshot",
            "feed:promotions",
            "feed:overload",
            "model:none",
            "model:partition",
            "model:kill",
            "model:pause",
            "model:power",
            "model:snapshot",
            "model:corrupt",
            "model:promotions",
            "session:none",
            "session:partition",
            "session:pause",
            "session:clock",
            "paging:none",
            "paging:kill",
            "paging:snapshot",
        ],
    },
    Set {
        name: "long",
        about: "ten minutes each of what is likeliest to break",
        cells: &[
            "register:pause-leader:600",
            "register:power-all:600",
            "feed:power-all:600",
            "counter:partition:600",
            "model:snapshot-partition:600",
            "model:corrupt:600",
            "session:pause:600",
            "bank:power-majority:600",
            "append:mix:600",
            "set:kill-all:600",
        ],
    },
    Set {
        name: "corrupt",
        about: "damage to files of one class after the other",
        cells: &[
            "model:corrupt-log-table:540",
            "model:corrupt-log-wal:540",
            "model:corrupt-log-manifest:540",
            "model:corrupt-log-current:540",
            "model:corrupt-state-table:540",
            "model:corrupt-state-manifest:540",
            "model:corrupt-state-current:540",
            "model:corrupt-pointer:540",
            "model:corrupt-snapshot:540",
        ],
    },
    Set { name: "mixes", about: "half an hour of everything at once on five nodes", cells: &["model:mix-all:1800:5"] },
];

/// The cells of the set of this name.
///
/// # Errors
/// When there is none.
pub fn of(name: &str) -> Result<Vec<Cell>> {
    let set = SETS.iter().find(|set| set.name == name).with_context(|| {
        let names: Vec<&str> = SETS.iter().map(|set| set.name).collect();
        format!("there is no set {name:?}; there are: {}", names.join(", "))
    })?;
    set.cells.iter().map(|cell| Cell::parse(cell)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_every_set_exists() {
        for set in SETS {
            let cells = of(set.name).unwrap();
            assert_eq!(cells.len(), set.cells.len());
            for (at, cell) in cells.iter().enumerate() {
                assert!(!cells[..at].contains(cell), "{cell:?} is there twice");
            }
        }
        assert!(of("monthly").is_err());
    }

    #[test]
    fn a_cell_says_what_is_wrong_with_it() {
        let check = |text: &str, part: &str| {
            let error = Cell::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check("register", "WORKLOAD:NEMESIS");
        check("register:kill:soon", "\"soon\"");
        check("register:kill:1:2:3", "too much");
        check("registers:kill", "registers");
        check("register:kills", "kills");
        let cell = Cell::parse("feed:power-all:600:5").unwrap();
        assert_eq!((cell.time_s, cell.nodes), (Some(600), Some(5)));
    }
}
