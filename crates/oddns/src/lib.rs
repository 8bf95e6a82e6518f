//! Learns what normal looks like for CoreDNS servers and says what is odd.
