//! How a command ends: the exit codes that scripts rely on, and errors that say what, why and what to do.

use std::fmt;

use crate::client;

/// What the exit code of the program means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The operation was tried and failed.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage = 2,
    /// No node of the cluster could take the request.
    Unavailable = 3,
}

/// An error for a person: what is wrong, why that is so, and what to do about it.
#[derive(Debug)]
pub(crate) struct Advice {
    exit: Exit,
    what: String,
    why: Option<String>,
    remedy: Option<String>,
}

impl Advice {
    /// The command line or the configuration is wrong.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The operation failed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// The cluster cannot be reached, or cannot serve now.
    pub(crate) fn unavailable(what: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, what)
    }

    fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, remedy: None }
    }

    /// The same with another exit code.
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Whether it says what to do.
    pub(crate) fn has_remedy(&self) -> bool {
        self.remedy.is_some()
    }

    /// Adds the reason.
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(why) = &self.why {
            write!(f, "\n  why: {why}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  do:  {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Advice {}

/// The exit code that belongs to an error: the first cause that has an opinion decides.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(advice) = cause.downcast_ref::<Advice>() {
            return advice.exit;
        }
        if let Some(error) = cause.downcast_ref::<client::Error>() {
            return error.exit();
        }
    }
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_survives_context() {
        let error = Err::<(), _>(Advice::usage("no such flag")).context("while reading").unwrap_err();
        assert_eq!(code_of(&error), Exit::Usage);
        assert_eq!(code_of(&anyhow::anyhow!("broken")), Exit::Failed);
        assert_eq!(code_of(&Advice::unavailable("no node").into()), Exit::Unavailable);
    }

    #[test]
    fn advice_says_what_why_and_what_to_do() {
        let advice = Advice::failed("it broke").why("it was old").remedy("buy a new one");
        assert_eq!(advice.to_string(), "it broke\n  why: it was old\n  do:  buy a new one");
    }
}
