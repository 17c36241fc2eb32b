//! Bugs on purpose, to see whether our tests would find them. They exist only in builds with `--cfg planted`, which only
//! `jepsen planted` makes; there, the environment's `AERODB_PLANTED` names those that are on. `jepsen/README.md` says what
//! each one models and what catches it.

/// True when the planted bug of this name is on; plainly false, and gone at compile time, in every usual build.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        cfg!(planted) && $crate::planted::is_on($name)
    };
}

/// What [`planted!`] asks in a build with planted bugs.
pub fn is_on(name: &str) -> bool {
    static ON: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let on = ON.get_or_init(|| {
        let names = std::env::var("AERODB_PLANTED").unwrap_or_default();
        names.split(',').map(|name| name.trim().to_owned()).collect()
    });
    on.iter().any(|on| on == name)
}
