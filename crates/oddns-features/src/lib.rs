//! CoreDNS metrics of every version to canonical, volume-robust features.
