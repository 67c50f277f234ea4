use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, getpid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use stickler_devices::console::port::{Change, Size};
use tempfile::TempDir;

use super::*;

fn spec(text: &str) -> ConsoleSpec {
    text.parse().expect("a console")
}

fn stdio(input: Option<&OwnedFd>, output: &OwnedFd) -> StreamPort {
    StreamPort::stdio(Stdio {
        input: input.map(AsFd::as_fd),
        output: output.as_fd(),
        filter: None,
    })
    .expect("descriptors to spare")
}

/// Waits until the backend has something new to tell.
fn wait(port: &StreamPort) {
    wait_for_fd(port.epoll());
}

fn wait_for_fd(epoll: &OwnedFd) {
    let mut fds = [PollFd::new(epoll, PollFlags::IN)];
    poll(&mut fds, None).expect("it can be waited for");
}

fn read_all(port: &mut dyn PortBackend) -> String {
    let mut bytes = [0; 5];
    let mut text = String::new();
    loop {
        match port.read(&mut bytes) {
            0 => return text,
            n => text.push_str(str::from_utf8(&bytes[..n]).expect("text")),
        }
    }
}

// ---- Descriptors

#[test]
fn input_is_read_and_ends() {
    let (input, feed) = io::pipe().expect("a pipe");
    let (_drain, output) = io::pipe().expect("a pipe");
    let mut port = stdio(Some(&input.into()), &output.into());
    assert_eq!(read_all(&mut port), "");
    (&feed).write_all(b"some input").expect("room");
    wait(&port);
    assert_eq!(port.change(), None);
    assert_eq!(read_all(&mut port), "some input");
    (&feed).write_all(b"the rest").expect("room");
    drop(feed);
    assert_eq!(read_all(&mut port), "the rest");
    assert_eq!(read_all(&mut port), "");
    assert!(port.is_open(), "output goes on");
}

#[test]
fn a_full_pipe_takes_nothing_until_it_is_read() {
    let (drain, output) = io::pipe().expect("a pipe");
    let output = OwnedFd::from(output);
    let mut port = stdio(None, &output);
    let mut written = 0;
    loop {
        match port.write(&[b'x'; 3000]) {
            0 => break,
            n => written += n,
        }
    }
    let flags = rustix::fs::fcntl_getfl(&output).expect("flags");
    assert!(!flags.contains(OFlags::NONBLOCK), "the pipe is not ours");
    port.change();
    let mut bytes = vec![0; written];
    (&drain).read_exact(&mut bytes).expect("what was written");
    wait(&port);
    assert_eq!(port.write(b"more"), 4);
    let mut bytes = [0; 4];
    (&drain).read_exact(&mut bytes).expect("what was written");
    assert_eq!(&bytes, b"more");
}

#[test]
fn the_last_output_waits_for_its_reader() {
    let (mut drain, output) = io::pipe().expect("a pipe");
    let output = OwnedFd::from(output);
    let mut port = stdio(None, &output);
    drop(output);
    let text = vec![b'x'; 1 << 20];
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        drain.read_to_end(&mut all).map(|_| all)
    });
    port.finish(&text);
    drop(port);
    let read = reader.join().expect("no panic").expect("a pipe");
    assert!(read == text);
}

#[test]
fn output_without_a_reader_is_lost_and_does_no_harm() {
    let (drain, output) = io::pipe().expect("a pipe");
    let mut port = stdio(None, &output.into());
    drop(drain);
    for _ in 0..3 {
        assert_eq!(port.write(b"hello?"), 6);
        assert_eq!(port.change(), None);
    }
    port.finish(b"hello?");
}

#[test]
fn a_regular_file_goes_on_where_it_was() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("log");
    let mut file = fs::File::create(&path).expect("a file");
    file.write_all(b"before ").expect("written");
    let mut port = stdio(None, &file.into());
    let text = "x".repeat(5000);
    assert_eq!(port.write(text.as_bytes()), 5000);
    assert_eq!(
        fs::read_to_string(&path).expect("a file"),
        format!("before {text}")
    );
}

#[test]
fn the_filter_sees_input_nobody_wants() {
    let (input, feed) = io::pipe().expect("a pipe");
    let (_drain, output) = io::pipe().expect("a pipe");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = seen.clone();
    let mut port = StreamPort::stdio(Stdio {
        input: Some(input.as_fd()),
        output: output.as_fd(),
        filter: Some(Box::new(move |typed, passed| {
            all.lock().expect("whole").extend_from_slice(typed);
            passed.extend(typed.iter().filter(|b| **b != b'!'));
        })),
    })
    .expect("descriptors to spare");
    (&feed).write_all(b"a!b!").expect("room");
    wait(&port);
    assert_eq!(port.change(), None);
    assert_eq!(*seen.lock().expect("whole"), b"a!b!");
    assert_eq!(read_all(&mut port), "ab");
}

#[test]
fn the_terminals_size_is_the_consoles() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a pseudo-terminal");
    grantpt(&master).expect("a pseudo-terminal");
    unlockpt(&master).expect("a pseudo-terminal");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let terminal = rustix::fs::open(name, flags, Mode::empty()).expect("a terminal");
    let resize = |ws_col, ws_row| {
        let size = Winsize {
            ws_row,
            ws_col,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("a terminal");
    };
    resize(0, 0);
    assert_eq!(stdio(None, &terminal).size(), None);
    resize(100, 30);
    let mut port = stdio(Some(&terminal), &terminal);
    let size = Size {
        cols: 100,
        rows: 30,
    };
    assert_eq!(port.size(), Some(size));
    resize(90, 20);
    // The kernel sends it to the terminal's foreground process group; this is nobody's terminal.
    kill_process(getpid(), Signal::WINCH).expect("to ourselves");
    wait(&port);
    let size = Size { cols: 90, rows: 20 };
    assert_eq!(port.change(), Some(Change::Resized(size)));
    assert_eq!(port.size(), Some(size));
    assert_eq!(port.change(), None);
}

#[test]
fn a_file_is_made_anew() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("out");
    fs::write(&path, "something long that was there").expect("written");
    let spec = spec(&format!("file={}", path.display()));
    let mut port = StreamPort::file(&spec, &path).expect("a file");
    assert_eq!(port.write(b"out"), 3);
    assert_eq!(port.read(&mut [0; 10]), 0);
    assert_eq!(fs::read(&path).expect("a file"), b"out");
}

// ---- Sockets

fn listen(path: &Path) -> Result<SocketPort, ConsoleError> {
    listen_with(path, None)
}

fn listen_with(path: &Path, patience: Option<Duration>) -> Result<SocketPort, ConsoleError> {
    SocketPort::listen(&spec(&format!("socket={}", path.display())), path, patience)
}

#[test]
fn a_client_opens_talks_and_closes() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("s");
    let mut port = listen(&path).expect("a socket");
    assert_eq!((port.is_open(), port.change()), (false, None));
    assert_eq!(port.write(b"into the void"), 13);
    assert_eq!(port.read(&mut [0; 3]), 0);

    let mut client = UnixStream::connect(&path).expect("it listens");
    wait_for_fd(port.epoll());
    assert_eq!(port.change(), Some(Change::Opened));
    assert!(port.is_open());
    port.take_activity();
    client.write_all(b"hello").expect("room");
    assert_eq!(port.change(), None);
    assert!(port.take_activity(), "the descriptor tells of it no more");
    assert!(!port.take_activity());
    assert_eq!(read_all(&mut port), "hello");
    assert_eq!(port.write(b"world"), 5);
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).expect("it was sent");
    assert_eq!(&bytes, b"world");

    // What a client leaves behind is read before the port closes.
    client.write_all(b"bye").expect("room");
    drop(client);
    assert_eq!(port.change(), None);
    assert_eq!(read_all(&mut port), "bye");
    assert_eq!(port.change(), Some(Change::Closed));
    assert_eq!((port.is_open(), port.change()), (false, None));

    drop(port);
    assert!(!path.exists());
}

#[test]
fn a_client_that_sends_no_more_still_gets_answers() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("s");
    let mut port = listen(&path).expect("a socket");
    let mut client = UnixStream::connect(&path).expect("it listens");
    assert_eq!(port.change(), Some(Change::Opened));
    client.write_all(b"question").expect("room");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("connected");
    assert_eq!(read_all(&mut port), "question");
    assert_eq!(port.change(), None);
    assert_eq!(port.write(b"answer"), 6);
    let mut bytes = [0; 6];
    client.read_exact(&mut bytes).expect("it was sent");
    assert_eq!(&bytes, b"answer");
    drop(client);
    assert_eq!(port.change(), Some(Change::Closed));
}

#[test]
fn a_client_that_does_not_read_its_console_stops_no_guest() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("socket");
    for patience in [Some(Duration::from_millis(20)), None] {
        let mut port = listen_with(&path, patience).expect("it can listen");
        let mut client = UnixStream::connect(&path).expect("it listens");
        wait_for_fd(port.epoll());
        assert_eq!(port.change(), Some(Change::Opened));
        let mut sent = 0;
        let line = [b'x'; 4096];
        let mut write = |port: &mut SocketPort| {
            let count = port.write(&line);
            sent += count;
            count
        };
        while write(&mut port) > 0 {}
        if patience.is_some() {
            // Its time is over: output goes on, and is lost.
            wait_for_fd(port.epoll());
            assert_eq!(port.change(), None);
            assert!(port.take_activity());
            for _ in 0..100 {
                assert_eq!(port.write(&line), line.len());
            }
        }
        client.read_exact(&mut vec![0; sent]).expect("it was sent");
        // It reads again.
        assert_eq!(port.write(b"more"), 4);
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).expect("it was sent");
        assert_eq!(&bytes, b"more");
    }
}

#[test]
fn clients_come_one_after_the_other() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("s");
    let mut port = listen(&path).expect("a socket");
    let first = UnixStream::connect(&path).expect("it listens");
    let mut second = UnixStream::connect(&path).expect("it listens");
    second.write_all(b"second").expect("room");
    assert_eq!(port.change(), Some(Change::Opened));
    assert_eq!(port.change(), None);
    assert_eq!(read_all(&mut port), "");
    drop(first);
    assert_eq!(port.change(), Some(Change::Closed));
    assert_eq!(port.change(), Some(Change::Opened));
    assert_eq!(read_all(&mut port), "second");
    // One that has gone, and whose words nobody wants, makes way.
    second.write_all(b"unread").expect("room");
    drop(second);
    assert_eq!(port.change(), None);
    let _third = UnixStream::connect(&path).expect("it listens");
    assert_eq!(port.change(), Some(Change::Closed));
    assert_eq!(port.change(), Some(Change::Opened));
    assert_eq!(read_all(&mut port), "");
}

#[test]
fn a_slow_client_is_waited_for() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("s");
    let mut port = listen(&path).expect("a socket");
    let mut client = UnixStream::connect(&path).expect("it listens");
    assert_eq!(port.change(), Some(Change::Opened));
    let mut written = 0;
    loop {
        match port.write(&[b'x'; 4096]) {
            0 => break,
            n => written += n,
        }
    }
    assert_eq!(port.change(), None);
    let mut bytes = vec![0; written];
    client.read_exact(&mut bytes).expect("it was sent");
    wait_for_fd(port.epoll());
    assert_eq!(port.change(), None);
    assert_eq!(port.write(b"more"), 4);
    // A client that goes while there is no room is noticed.
    while port.write(&[b'x'; 4096]) > 0 {}
    drop(client);
    wait_for_fd(port.epoll());
    assert_eq!(port.change(), Some(Change::Closed));
}

// ---- What cannot be had

fn error(specs: &[&str]) -> String {
    let specs: Vec<_> = specs.iter().map(|s| spec(s)).collect();
    let (_drain, output) = io::pipe().expect("a pipe");
    let stdio = Stdio {
        input: None,
        output: output.as_fd(),
        filter: None,
    };
    match open(&specs, stdio) {
        Ok(_) => panic!("this should not work"),
        Err(why) => why.to_string(),
    }
}

#[test]
fn what_cannot_be_had_is_said_in_one_sentence() {
    let dir = TempDir::new().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let check = |specs: &[&str], words: &str| {
        let error = error(specs);
        assert!(error.contains(words), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    check(&["stdio", "stdio"], "only one port");
    check(&["null,name=a", "null,name=a"], "name already");
    check(&["null"; MAX_PORTS + 1], "31 ports at most");
    for kind in ["file", "socket"] {
        check(
            &[&format!("{kind}={}", at("no/s"))],
            "there is no directory",
        );
    }
    check(&[&format!("file={}", dir.path().display())], "a directory");
    let twice = format!("file={}", at("twice"));
    check(&[&twice, &twice], "another port writes");

    fs::write(at("file"), "keep me").expect("written");
    check(&[&format!("socket={}", at("file"))], "something else");
    assert_eq!(fs::read(at("file")).expect("a file"), b"keep me");
    check(&[&format!("socket={}", at(&"x".repeat(200)))], "too long");
    let _listener = UnixListener::bind(at("busy")).expect("a socket");
    check(&[&format!("socket={}", at("busy"))], "another process");
    let same = format!("socket={}", at("same"));
    check(&[&same, &same], "another process");
}

#[test]
fn a_socket_left_over_is_replaced_and_one_put_in_our_place_is_kept() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("s");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let port = listen(&path).expect("nobody listens any more");
    fs::remove_file(&path).expect("it is there");
    let _other = UnixListener::bind(&path).expect("a socket");
    drop(port);
    assert!(path.exists());
}

#[test]
fn a_console_is_made_of_its_ports() {
    use stickler_devices::virtio::VirtioDevice;

    let dir = TempDir::new().expect("a directory");
    let file = format!("file={},name=log", dir.path().join("log").display());
    let (_drain, output) = io::pipe().expect("a pipe");
    let make = |specs: &[&str]| {
        let specs: Vec<_> = specs.iter().map(|s| spec(s)).collect();
        let stdio = Stdio {
            input: None,
            output: output.as_fd(),
            filter: None,
        };
        open(&specs, stdio).expect("a console")
    };
    let queues = |console: &Console| {
        let device: &dyn VirtioDevice<stickler_conformance::Unjudged> = console;
        device.queue_sizes().len()
    };
    assert_eq!(queues(&make(&[])), 2);
    assert_eq!(queues(&make(&["stdio"])), 2);
    assert_eq!(queues(&make(&["null", &file])), 6);
}

// ---- What cannot be written

/// Set in the process that has no standard error.
const CHILD: &str = "STICKLER_TEST_CONSOLE";

#[test]
fn output_that_cannot_be_written_is_lost_and_so_is_the_message_if_it_cannot_be() {
    let name = "output_that_cannot_be_written_is_lost_and_so_is_the_message_if_it_cannot_be";
    if std::env::var_os(CHILD).is_some() {
        let path = Path::new("/dev/full");
        let mut port = StreamPort::file(&spec("file=/dev/full"), path).expect("it is there");
        assert_eq!(port.write(b"some output"), 11);
        assert_eq!(port.write(b"more"), 4);
        return;
    }
    let run = |stderr: std::process::Stdio| {
        std::process::Command::new(std::env::current_exe().expect("it has a path"))
            .args(["--exact", "--nocapture"])
            .arg(format!("backends::console::tests::{name}"))
            .env(CHILD, "1")
            .stdout(std::process::Stdio::null())
            .stderr(stderr)
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .expect("it can be started")
    };
    let (_, closed) = io::pipe().expect("a pipe");
    assert!(run(closed.into()).status.success());
    let said = String::from_utf8(run(std::process::Stdio::piped()).stderr).expect("it is text");
    assert_eq!(
        said.matches("/dev/full cannot be written to").count(),
        1,
        "{said}"
    );
}
