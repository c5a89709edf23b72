//! Opt-in link library: the five Wsk registration functions over the wskguard NPI.
