//! The synthetic application: probes and clients that write, keep a ledger, and tell what was lost, doubled and how long.
