//! Holds the user's documentation to the program: generated pages are up to date, and the commands
//! in `README.md` and `docs/*.md` run and print what the page says.
//!
//! In those pages a block marked
//!
//! - `sh` is run by bash, in a folder of the page's own that holds the bundled recordings as
//!   `recording/` and `faults/`, with `oddns` on `PATH`. It has to end with status 0;
//! - `sh live` is run the same way when `ODDNS_PEERS` names the folder of peers, beside a real
//!   CoreDNS whose metrics are at 127.0.0.1:9153 (the test puts its own port there);
//! - `text` right behind either is what was printed. It is compared with every number left out,
//!   because figures depend on the machine; `ODDNS_UPDATE_DOCS=1` writes it anew, from a
//!   release build;
//! - `console` is not run.

#![expect(clippy::print_stdout, reason = "a skipped example is told")]

mod block;
mod coredns;
mod generated;
mod page;
mod program;
