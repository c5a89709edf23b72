//! What wskguard decides: option semantics, policy, endpoint table, audit.
