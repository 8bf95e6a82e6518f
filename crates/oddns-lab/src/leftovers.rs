//! What a lab leaves that was killed: servers that run on, and their folders. The next lab sweeps it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How the folder of a server begins, among the temporary files.
pub(crate) const PREFIX: &str = "oddns-lab-";
/// Says in such a folder whose it is.
const OWNER: &str = "owner";
/// A killed process is gone at once, but for one that the kernel is busy with.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What was swept away when a lab started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// CoreDNS processes that ran on without their lab.
    pub servers: usize,
    /// Temporary folders.
    pub folders: usize,
}

/// Writes into the folder of a server that this process is its owner. Where the system does not tell
/// processes apart (no `/proc`), nothing is written, and nothing is swept.
pub(crate) fn own(folder: &Path) -> std::io::Result<()> {
    match mark(std::process::id()) {
        Some(mark) => fs::write(folder.join(OWNER), mark),
        None => Ok(()),
    }
}

/// Ends the servers and removes the folders in `temporary` whose lab is gone. What belongs to
/// somebody else, or to a lab that lives, is left alone; what cannot be removed, too.
pub(crate) fn sweep(temporary: &Path) -> Swept {
    let mut swept = Swept::default();
    for folder in left(temporary) {
        for pid in servers_of(&folder) {
            swept.servers += usize::from(end(pid));
        }
        swept.folders += usize::from(fs::remove_dir_all(&folder).is_ok());
    }
    swept
}

/// Folders of labs that are gone.
fn left(temporary: &Path) -> Vec<PathBuf> {
    let Ok(own_user) = fs::metadata("/proc/self").map(|about| about.uid()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(temporary).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    // Others may write into the temporary folder: what they made is theirs.
    let own = folders.map(|entry| entry.path()).filter(|path| user(path) == Some(own_user));
    own.filter(|path| is_left(path)).collect()
}

/// The user that a folder belongs to; `None` for what is no folder.
fn user(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir).map(|about| about.uid())
}

/// Whether the owner that a folder names is gone. A folder that names none is just being made.
fn is_left(folder: &Path) -> bool {
    let Ok(owner) = fs::read_to_string(folder.join(OWNER)) else { return false };
    let Some((pid, space)) = owner
        .split_once(' ')
        .and_then(|(pid, rest)| Some((pid.parse::<u32>().ok()?, rest.split_once(' ')?.1)))
    else {
        return false;
    };
    // Another container that shares the folder has other processes under the same numbers.
    Some(space) == process_space().as_deref() && mark(pid).is_none_or(|mark| mark != owner)
}

/// What tells a process from all others, of this machine and container: its id, when it was started,
/// and the space of ids. `None` when there is none, or it has ended and nobody has noticed.
fn mark(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have anything in it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let (state, started) = (fields.first()?, fields.get(19)?);
    (*state != "Z").then_some(())?;
    Some(format!("{pid} {started} {}", process_space()?))
}

fn process_space() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Processes that were started with the Corefile of a folder.
fn servers_of(folder: &Path) -> Vec<u32> {
    let corefile = folder.join("Corefile");
    let corefile = corefile.to_string_lossy();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == corefile.as_bytes())
    })
    .collect()
}

/// Kills a process and waits until it is gone; whether it was there.
fn end(pid: u32) -> bool {
    let Some(before) = mark(pid) else { return false };
    if kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).is_err() {
        return false;
    }
    let start = Instant::now();
    while mark(pid).is_some_and(|now| now == before) && start.elapsed() < GONE_WITHIN {
        thread::sleep(LOOK_AGAIN);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A process that never was: Linux numbers none so high.
    const GONE: &str = "4194305 1";

    fn folder(temporary: &Path, name: &str, owner: Option<&str>) -> PathBuf {
        let folder = temporary.join(name);
        fs::create_dir(&folder).unwrap();
        if let Some(owner) = owner {
            fs::write(folder.join(OWNER), owner).unwrap();
        }
        folder
    }

    #[test]
    fn only_what_nobody_owns_any_more_is_swept() {
        let temporary = tempfile::tempdir().unwrap();
        let space = process_space().unwrap();
        let gone = folder(temporary.path(), "oddns-lab-gone", Some(&format!("{GONE} {space}")));
        let mine = folder(temporary.path(), "oddns-lab-mine", None);
        own(&mine).unwrap();
        let elsewhere =
            folder(temporary.path(), "oddns-lab-else", Some(&format!("{GONE} pid:[1]")));
        let unborn = folder(temporary.path(), "oddns-lab-unborn", None);
        let other = folder(temporary.path(), "other", Some(&format!("{GONE} {space}")));
        assert_eq!(sweep(temporary.path()), Swept { servers: 0, folders: 1 });
        assert!(!gone.exists());
        for kept in [mine, elsewhere, unborn, other] {
            assert!(kept.exists(), "{}", kept.display());
        }
    }

    #[test]
    fn a_process_that_has_the_corefile_of_a_swept_folder_is_ended() {
        let temporary = tempfile::tempdir().unwrap();
        let space = process_space().unwrap();
        let gone = folder(temporary.path(), "oddns-lab-gone", Some(&format!("{GONE} {space}")));
        // Waits without a child: one that a shell has just forked has the same arguments.
        let mut left = Command::new("sh");
        let left = left.args(["-c", "read nothing", "-conf"]).arg(gone.join("Corefile"));
        let mut left = left.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        while servers_of(&gone).is_empty() {
            thread::sleep(LOOK_AGAIN);
        }
        let swept = sweep(temporary.path());
        // In any case: who waits for this test waits for what it started.
        let _ = left.kill();
        assert!(!left.wait().unwrap().success());
        assert_eq!(swept, Swept { servers: 1, folders: 1 });
        assert_eq!(sweep(temporary.path()), Swept::default());
    }
}
