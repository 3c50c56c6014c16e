//! Signals and the local status socket.
