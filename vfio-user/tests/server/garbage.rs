//! Clients that send what no client should.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use stickler_vfio_user::ChannelError;
use stickler_vfio_user::client::{Client, access};
use stickler_vfio_user::wire::{HEADER_LEN, Header, MAX_DISCARDED, MAX_FDS, command, flag};

use crate::served::{Done, Served, serve};

fn agreed() -> (Served, Client) {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    (served, client)
}

#[test]
fn a_message_may_come_in_any_pieces() {
    let (served, mut client) = agreed();
    let payload = access(0, 8, 4);
    let header = client.header(command::REGION_READ, 0, &payload);
    let bytes = [&header.to_bytes()[..], &payload].concat();
    for cut in 1..bytes.len() {
        client.send(&bytes[..cut], &[]).expect("sent");
        std::thread::sleep(Duration::from_millis(1));
        client.send(&bytes[cut..], &[]).expect("sent");
        let (reply, data) = client.reply().expect("it is whole now");
        assert_eq!((reply.id, &data[16..]), (header.id, &[8, 9, 10, 11][..]));
    }
    for byte in &bytes {
        client.send(&[*byte], &[]).expect("sent");
    }
    client.reply().expect("it is whole now");
    assert_eq!(served.take_done().len(), bytes.len());
}

#[test]
fn a_flood_without_a_reader_of_replies_takes_no_memory_and_loses_nothing() {
    let (served, mut client) = agreed();
    let mut sender = client.socket().try_clone().expect("a descriptor");
    const COUNT: usize = 5_000;
    let flood = std::thread::spawn(move || {
        let payload = access(7, 0, 4096);
        for id in 0..COUNT {
            let header = Header {
                id: id as u16,
                command: command::REGION_READ,
                size: (HEADER_LEN + payload.len()) as u32,
                flags: 0,
                error: 0,
            };
            let bytes = [&header.to_bytes()[..], &payload].concat();
            sender.write_all(&bytes).expect("sent in the end");
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    // The server has stopped to take requests.
    assert!(served.take_done().len() < COUNT);
    for id in 0..COUNT {
        let (reply, _) = client.reply().expect("each is answered");
        assert_eq!(reply.id, id as u16);
    }
    flood.join().expect("it was sent");
}

#[test]
fn sizes_that_no_message_has_end_the_connection() {
    for size in [0, 15, MAX_DISCARDED as u32 + 1, u32::MAX] {
        let (served, mut client) = agreed();
        let header = Header {
            size,
            ..client.header(command::DEVICE_RESET, 0, &[])
        };
        client.send(&header.to_bytes(), &[]).expect("sent");
        assert_eq!(client.socket().read(&mut [0]).expect("closed"), 0);
        assert!(matches!(served.end(), Err(ChannelError::Size(s)) if s == size));
    }
}

#[test]
fn replies_to_nothing_end_the_connection() {
    let (served, mut client) = agreed();
    let header = client.header(command::DEVICE_RESET, flag::REPLY, &[]);
    client.send(&header.to_bytes(), &[]).expect("sent");
    assert!(matches!(served.end(), Err(ChannelError::NoCommand)));
}

#[test]
fn too_many_file_descriptors_end_the_connection_and_are_closed() {
    let (served, mut client) = agreed();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let header = client.header(command::DEVICE_RESET, 0, &[]).to_bytes();
    let fds = vec![writer.as_fd(); MAX_FDS + 1];
    client.send(&header, &fds).expect("sent");
    assert!(matches!(served.end(), Err(ChannelError::FileDescriptors)));
    drop(writer);
    assert_eq!(reader.read(&mut [0]).expect("no writer is left"), 0);
    // The same in two pieces.
    let (served, mut client) = agreed();
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let fds = vec![writer.as_fd(); 9];
    client.send(&header[..4], &fds).expect("sent");
    client.send(&header[4..], &fds).expect("sent");
    assert!(matches!(served.end(), Err(ChannelError::FileDescriptors)));
}

#[test]
fn file_descriptors_of_a_request_that_takes_none_are_closed() {
    let (_served, mut client) = agreed();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let refused = client.request(command::DEVICE_RESET, &[], &[writer.as_fd()]);
    assert!(refused.is_err());
    drop(writer);
    assert_eq!(reader.read(&mut [0]).expect("no writer is left"), 0);
}

#[test]
fn a_client_may_leave_at_any_byte() {
    let bytes = {
        let (_, mut client) = agreed();
        let payload = [access(0, 0, 4), vec![1; 4]].concat();
        let header = client.header(command::REGION_WRITE, 0, &payload);
        [&header.to_bytes()[..], &payload].concat()
    };
    for cut in 0..=bytes.len() {
        let (served, mut client) = agreed();
        client.send(&bytes[..cut], &[]).expect("sent");
        drop(client);
        let end = served.end();
        match cut {
            0 => assert!(end.is_ok()),
            _ if cut == bytes.len() => {}
            _ => assert!(matches!(end, Err(ChannelError::Cut)), "{cut}: {end:?}"),
        }
    }
}

/// A message that is nearly right: a known command, and fields that are small, large, or at an edge.
fn message() -> impl Strategy<Value = (u16, u32, Vec<u8>, usize)> {
    let field = prop_oneof![
        4 => 0_u32..10,
        1 => Just(4096),
        1 => Just(u32::MAX),
        1 => any::<u32>(),
    ];
    let payload = vec(field, 0..12).prop_map(|fields| {
        let bytes = fields.iter().flat_map(|field| field.to_ne_bytes());
        bytes.collect::<Vec<u8>>()
    });
    let flags = prop_oneof![4 => Just(0), 1 => Just(flag::NO_REPLY), 1 => any::<u32>()];
    (0_u16..20, flags, payload, 0_usize..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_at_random_do_no_harm(bytes in vec(any::<u8>(), 0..200), after_agreement: bool) {
        let (served, mut client) = serve();
        if after_agreement {
            client.agree(0, 1, b"").expect("it is agreed");
        }
        // The server may have left before all is sent.
        let _ = client.send(&bytes, &[]);
        drop(client);
        let _ = served.end();
    }

    #[test]
    fn messages_at_random_are_answered(messages in vec(message(), 1..30)) {
        let (served, mut client) = serve();
        client.agree(0, 1, b"").expect("it is agreed");
        let file = tempfile::tempfile().expect("a file");
        for (command, flags, payload, fds) in messages {
            let flags = flags & !flag::TYPE;
            let header = client.header(command, flags, &payload);
            let bytes = [&header.to_bytes()[..], &payload].concat();
            client.send(&bytes, &vec![file.as_fd(); fds]).expect("the server is there");
            if flags & flag::NO_REPLY == 0 {
                let (reply, data) = client.reply().expect("it is answered");
                prop_assert_eq!((reply.id, reply.command), (header.id, command));
                prop_assert_eq!(reply.flags & flag::TYPE, flag::REPLY);
                if reply.flags & flag::ERROR != 0 {
                    prop_assert!(data.is_empty() && reply.error != 0);
                }
            }
        }
        client.read(0, 0, 1).expect("it goes on");
        // Whatever reached the device was within its regions.
        for done in served.take_done() {
            let (region, offset, len) = match done {
                Done::Read(region, offset, len) => (region, offset, len),
                Done::Written(region, offset, data) => (region, offset, data.len()),
                Done::Memory(_) | Done::Reset => continue,
            };
            let end = if region == 0 { 8192 } else { 4096 };
            prop_assert!(matches!(region, 0 | 7) && offset + len as u64 <= end);
        }
        drop(client);
        prop_assert!(served.end().is_ok());
    }
}
