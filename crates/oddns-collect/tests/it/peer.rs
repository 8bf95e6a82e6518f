//! Where the real programs and the saved scrapes are, and how the programs are run.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Folder with real programs to test against, or `None`, said in one line, where there is none.
pub(crate) fn peers(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("ODDNS_PEERS").map(PathBuf::from);
    if found.is_none() {
        println!("skipped {test}: ODDNS_PEERS names no folder with the programs to test against");
    }
    found
}

/// A file of `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A program that is killed when the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(command: &mut Command) -> Running {
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
