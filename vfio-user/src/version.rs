//! What client and server agree on (section "VFIO_USER_VERSION" of the protocol).

use rustix::io::Errno;
use serde_json::{Value, json};

use crate::dma::MAX_MAPPINGS;
use crate::wire::{MAX_DATA, MESSAGE_FDS};

/// The version that this is.
pub(crate) const MAJOR: u16 = 0;
pub(crate) const MINOR: u16 = 1;

/// The payload of the reply to a client that proposes a version.
///
/// # Errors
/// EINVAL if it is another major version, or the data is no JSON object.
pub(crate) fn agree(major: u16, minor: u16, data: &[u8]) -> Result<Vec<u8>, Errno> {
    if major != MAJOR {
        return Err(Errno::INVAL);
    }
    // The data may be missing. What is in it of ours to know is how many file descriptors the client
    // receives and how much data, and it is sent no file descriptors and no more data than it asks for.
    let text = data.strip_suffix(&[0]).unwrap_or(data);
    if !text.is_empty() {
        let proposed: Value = serde_json::from_slice(text).map_err(|_| Errno::INVAL)?;
        if !proposed.is_object() {
            return Err(Errno::INVAL);
        }
    }
    let capabilities = json!({
        "capabilities": {
            "max_msg_fds": MESSAGE_FDS,
            "max_data_xfer_size": MAX_DATA,
            "max_dma_maps": MAX_MAPPINGS,
            "write_multiple": false,
        }
    });
    let mut reply = Vec::new();
    reply.extend(MAJOR.to_ne_bytes());
    reply.extend(minor.min(MINOR).to_ne_bytes());
    reply.extend(capabilities.to_string().into_bytes());
    reply.push(0);
    Ok(reply)
}
