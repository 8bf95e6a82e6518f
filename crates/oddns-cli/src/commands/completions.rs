//! `oddns completions`.

use clap::CommandFactory;

use crate::args::{Arguments, Completions};
use crate::output;

pub(crate) fn run(args: &Completions) -> anyhow::Result<()> {
    // Into memory first: the generator panics when it cannot write, as into a pipe that was closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "oddns", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
