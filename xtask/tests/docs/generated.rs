//! Pages from tables of the code.

use std::process::Command;

#[test]
fn generated_pages_are_up_to_date() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["docs", "--check"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
