//! One file a subcommand.

pub(crate) mod check_config;
pub(crate) mod check_health;
pub(crate) mod collect;
pub(crate) mod completions;
pub(crate) mod dataset;
pub(crate) mod demo;
pub(crate) mod eval;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod lab;
pub(crate) mod man;
pub(crate) mod model;
pub(crate) mod score;
pub(crate) mod simulate;
pub(crate) mod train;
pub(crate) mod update;
pub(crate) mod watch;
