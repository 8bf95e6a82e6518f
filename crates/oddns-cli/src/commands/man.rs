//! `oddns man`.

use anyhow::Context;
use clap::CommandFactory;

use crate::args::{Arguments, Man};
use crate::output;

pub(crate) fn run(args: &Man) -> anyhow::Result<()> {
    let folder = args.folder.display();
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("cannot create folder `{folder}`"))?;
    clap_mangen::generate_to(Arguments::command(), &args.folder)
        .with_context(|| format!("cannot write manual pages to `{folder}`"))?;
    output::line(format!("wrote the manual pages to `{folder}`"));
    Ok(())
}
