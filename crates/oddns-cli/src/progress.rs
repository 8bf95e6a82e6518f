//! Bars on long work, on a terminal only.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oddns::Progress;

/// A bar of so many steps on standard error; hidden when that is no terminal.
pub(crate) fn bar(length: u64, what: &'static str) -> ProgressBar {
    // indicatif itself draws nothing when standard error is no terminal.
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(what);
    bar
}

/// Shows training on a bar.
pub(crate) fn training() -> (ProgressBar, impl FnMut(Progress) -> ControlFlow<()>) {
    let bar = bar(0, "training");
    let shown = bar.clone();
    let show = move |progress: Progress| {
        shown.set_length(progress.steps as u64);
        shown.set_position(progress.step as u64);
        shown.set_message(format!("loss {:.3}", progress.loss));
        ControlFlow::Continue(())
    };
    (bar, show)
}
