//! A server against clients, on real sockets.

mod garbage;
mod protocol;
mod served;
