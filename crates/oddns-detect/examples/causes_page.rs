//! Prints `docs/causes.md`, the page about the causes. `cargo xtask docs` writes it.
#![expect(clippy::print_stdout, reason = "printing is its job")]

use oddns_detect::{CAUSES, CauseEntry};

const INTRODUCTION: &str = "\
An incident names the cause out of this list whose signature its movements fit best, and how well
they fit: 100 % means that every feature of the signature moved far, the way it should. Below 40 %
oddns says `unknown` and lists what moved.

A cause is a hint for an operator. It never decides whether there is an alarm: the score does, and it
knows nothing of this list. So a fault that is not here is found all the same, as `unknown`, or told
as its nearest relative. In the recording of `oddns demo` a client that asks for ever new names makes
the upstream servers slow, and is told as `upstream_slow`.

↑ means that the feature rises, ↓ that it falls; the most telling come first. The features are
explained in [features.md](features.md). Commands are for CoreDNS in Kubernetes; elsewhere, read the
log and the configuration where they are.";

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
  which shows in `tcp_ratio` and `upstream_tcp_ratio`.
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
    let (name, summary) = (entry.name, entry.summary);
    format!("## `{name}`\n\n{summary}\n\nMoves: {}.\n\nNext:\n\n{steps}", signature(entry))
}

fn signature(entry: &CauseEntry) -> String {
    let mut features = entry.signature.to_vec();
    features.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let arrow = |weight: f32| if weight < 0.0 { "↓" } else { "↑" };
    let moves = features.iter().map(|(name, weight)| format!("`{name}` {}", arrow(*weight)));
    moves.collect::<Vec<_>>().join(", ")
}

/// Markdown would take `<pod>` for HTML and drop it.
fn escaped(step: &str) -> String {
    let within_code = |(at, part): (usize, &str)| match at % 2 {
        0 => part.replace('<', "\\<"),
        _ => part.to_owned(),
    };
    step.split('`').enumerate().map(within_code).collect::<Vec<_>>().join("`")
}
