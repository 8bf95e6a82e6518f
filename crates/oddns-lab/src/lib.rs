//! Runs a real CoreDNS with traffic and injected faults, and records it with labels.
