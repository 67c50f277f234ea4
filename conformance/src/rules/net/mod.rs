//! The network device (§5.1 of virtio 1.0).
//!
//! * [`setup`]: features, configuration and virtqueues.
//! * [`transmit`]: packets that are sent.
//! * [`buffers`]: buffers for packets that are received.
//! * [`receive`]: how a driver handles packets that are received.
//! * [`control`]: the commands of the control virtqueue.
//! * [`card`]: address, link, announcements.

pub mod buffers;
pub mod card;
pub mod control;
pub mod receive;
pub mod setup;
pub mod transmit;
