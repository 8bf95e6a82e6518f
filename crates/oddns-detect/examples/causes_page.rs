//! Prints `docs/causes.md`, the page about the causes. `cargo xtask docs` writes it.
#![expect(clippy::print_stdout, reason = "printing is its job")]

use oddns_detect::{CAUSES, CauseEntry, Moves};

const INTRODUCTION: &str = "\
An incident names the likeliest cause out of this list, with its probability, and what else it may
be. Each cause is held against all that moved since the incident began: what the cause predicts
speaks for it, what it predicts and is not there speaks against it, and so does what contradicts it
or what it cannot explain. When nothing fits, oddns says `unknown` and lists what moved.

A cause is a hint for an operator. It never decides whether there is an alarm: the score does, and it
knows nothing of this list. So a fault that is not here is found all the same, as `unknown`, or told
as its nearest relative. Early in an incident little has moved, and the cause may change as it grows.

↑ means that the feature rises, ↓ that it falls; the most telling come first. *Moves* is what the
cause does, *also* what often comes along, *not* what speaks against it. The features are explained in
[features.md](features.md); `scrapes_flap` says that scrapes fail and succeed in turn. Commands are for
CoreDNS in Kubernetes; elsewhere, read the log and the
configuration where they are.";

const INVISIBLE: &str = "\
## Not visible in CoreDNS's metrics

No detector that reads `/metrics` can see these. oddns does not either:

- **The 5-second conntrack race**: two queries from one socket (A and AAAA) race in the kernel of the
  node and one is lost. CoreDNS never receives it. The client waits 5 seconds. Look at
  `node_nf_conntrack_stat_insert_failed`, or use NodeLocal DNSCache.
- **Stale conntrack entries** after a pod was deleted: queries go to an address where nobody listens.
- **Packets lost in the kernel** or in the network between client and server, as long as the rest
  looks like ordinary traffic.
- **A frozen Kubernetes API server**: connections stay open, `/ready` stays well, and nothing arrives
  any more. New services are answered with NXDOMAIN. In a busy cluster `dns_programming_rate` falls
  silent, which may be noticed; in a calm one nothing moves.
- **Truncation by an upstream** moves little but the size of answers until clients repeat over TCP,
  which shows in `tcp_ratio` and `upstream_tcp_ratio` and is told as `upstream_moved_to_tcp`.
- **A frozen process** (SIGSTOP, a stopped node) leaves no trace in CoreDNS's own histograms. oddns
  sees the failed scrapes, and calls it `not_scrapable`.

A probe that asks for a known name from within the cluster, and the conntrack counters of the nodes,
show most of them.";

fn main() {
    println!("# Causes\n");
    println!("<!-- Written by `cargo xtask docs` from the table `CAUSES`. -->\n");
    println!("{INTRODUCTION}\n");
    for entry in CAUSES {
        println!("{}", section(entry));
    }
    println!("{INVISIBLE}");
}

fn section(entry: &CauseEntry) -> String {
    let steps = entry.next_steps.iter().map(|step| format!("- {}\n", escaped(step)));
    let steps: String = steps.collect();
    let CauseEntry { name, summary, mechanism, .. } = entry;
    let moves: String =
        [("Moves", entry.signature), ("Also", entry.supports), ("Not", entry.contradicts)]
            .iter()
            .filter(|(_, moves)| !moves.is_empty())
            .map(|(what, moves)| format!("- {what}: {}\n", features(moves)))
            .collect();
    format!("## `{name}`\n\n{summary}\n\n{mechanism}\n\n{moves}\nNext:\n\n{steps}")
}

fn features(moves: Moves) -> String {
    let mut moves = moves.to_vec();
    moves.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let arrow = |weight: f32| if weight < 0.0 { "↓" } else { "↑" };
    let each = moves.iter().map(|(name, weight)| format!("`{name}` {}", arrow(*weight)));
    each.collect::<Vec<_>>().join(", ")
}

/// Markdown would take `<pod>` for HTML and drop it.
fn escaped(step: &str) -> String {
    let within_code = |(at, part): (usize, &str)| match at % 2 {
        0 => part.replace('<', "\\<"),
        _ => part.to_owned(),
    };
    step.split('`').enumerate().map(within_code).collect::<Vec<_>>().join("`")
}
