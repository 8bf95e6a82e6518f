//! A lab that is killed, and the next one that sweeps what it left.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oddns_lab::{Lab, LabConfig, fault};

use crate::coredns_binary;

/// Set for the run of this program that is to be killed.
const VICTIM: &str = "ODDNS_LAB_VICTIM";

/// Runs a lab with a frozen server until it is killed; does nothing where nobody asks for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lab_that_is_killed() {
    let (Some(_), Some(binary)) = (std::env::var_os(VICTIM), coredns_binary("1.15.0")) else {
        return;
    };
    let mut lab = Lab::start(LabConfig::new(binary)).await.unwrap();
    lab.apply(fault("process_freeze").unwrap()).await.unwrap();
    println!("\nserver {}", lab.servers()[0].process_id().unwrap());
    std::future::pending::<()>().await;
}

/// The folder of a server, by the Corefile that it was started with.
fn folder_of(process: u32) -> PathBuf {
    let arguments = std::fs::read(format!("/proc/{process}/cmdline")).unwrap();
    let corefile = arguments.split(|byte| *byte == 0).nth(2).unwrap();
    Path::new(std::str::from_utf8(corefile).unwrap()).parent().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_lab_sweeps_what_a_killed_one_left() {
    let Some(binary) = coredns_binary("1.15.0") else { return };
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "leftovers::a_lab_that_is_killed", "--nocapture"]).env(VICTIM, "1");
    let mut victim = victim.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let process = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("server ")?.parse::<u32>().ok())
        .unwrap();
    // `kill` of the standard library is SIGKILL: nothing of the lab runs any more.
    victim.kill().unwrap();
    victim.wait().unwrap();
    let folder = folder_of(process);
    assert!(folder.exists());

    let lab = Lab::start(LabConfig::new(binary)).await.unwrap();
    assert!(!folder.exists());
    assert!(!Path::new(&format!("/proc/{process}/fd/0")).exists());
    // Whether this lab has swept it, or one of another test that started in between, nobody knows.
    assert!(lab.servers()[0].process_id().is_some());
}
