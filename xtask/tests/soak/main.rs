//! A short soak of the program of tests: an hour in twenty-four seconds, with restarts and a kill.

#[path = "../docs/program.rs"]
mod program;

use std::process::Command;

use anyhow::Result;
use serde_json::Value;

#[test]
fn nothing_is_lost_and_nothing_grows() -> Result<()> {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_xtask"));
    soak.args(["bench", "soak", "--hours", "1", "--restarts", "4", "--binary"]);
    let output = soak.arg(program::oddns(false)?).current_dir(program::root()).output()?;
    let (told, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}{errors}");
    assert!(output.status.success(), "{errors}");
    let lines: Vec<Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert!(lines.len() > 10, "{told}");
    Ok(())
}
