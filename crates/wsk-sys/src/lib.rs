//! Raw bindings to Winsock Kernel and the Network Module Registrar.
