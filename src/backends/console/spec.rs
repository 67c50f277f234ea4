//! The values of `--console`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use stickler_devices::console::MAX_NAME;

/// `stdio`, `null`, `file=PATH` or `socket=PATH`, with `,name=NAME` to give the port a name:
/// a value of `--console`. Other commas belong to the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSpec {
    /// What the port is connected to.
    pub kind: PortKind,
    /// The name by which the guest finds it.
    pub name: Option<String>,
}

/// What a port can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// Standard input and output.
    Stdio,
    /// Nothing.
    Null,
    /// A file for output, which is truncated first; there is no input.
    File(PathBuf),
    /// A Unix socket on which we listen. The port is open while a client is connected.
    Socket(PathBuf),
}

/// The text is not a console; the message shows the form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConsoleSpec {
    /// The kind is unknown.
    #[error(
        "a console is stdio, null, file=PATH or socket=PATH, with ,name=NAME to give it a name"
    )]
    Kind,
    /// `file=` or `socket=` without a path.
    #[error("the path is missing: write {0}=PATH")]
    Path(&'static str),
    /// The name is not allowed.
    #[error("a name has 1 to {MAX_NAME} bytes, without slashes and control characters")]
    Name,
}

impl FromStr for ConsoleSpec {
    type Err = BadConsoleSpec;

    fn from_str(text: &str) -> Result<Self, BadConsoleSpec> {
        let (kind, name) = match text.rsplit_once(",name=") {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        let path = |path: &str, kind| match path {
            "" => Err(BadConsoleSpec::Path(kind)),
            path => Ok(PathBuf::from(path)),
        };
        let kind = match kind.split_once('=') {
            None if kind == "stdio" => PortKind::Stdio,
            None if kind == "null" => PortKind::Null,
            None if kind == "file" => return Err(BadConsoleSpec::Path("file")),
            None if kind == "socket" => return Err(BadConsoleSpec::Path("socket")),
            Some(("file", rest)) => PortKind::File(path(rest, "file")?),
            Some(("socket", rest)) => PortKind::Socket(path(rest, "socket")?),
            _ => return Err(BadConsoleSpec::Kind),
        };
        if let Some(name) = name
            && (!(1..=MAX_NAME).contains(&name.len())
                || name.contains(|c: char| c == '/' || c.is_control()))
        {
            return Err(BadConsoleSpec::Name);
        }
        Ok(ConsoleSpec {
            kind,
            name: name.map(str::to_owned),
        })
    }
}

impl fmt::Display for ConsoleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PortKind::Stdio => f.write_str("stdio"),
            PortKind::Null => f.write_str("null"),
            PortKind::File(path) => write!(f, "file={}", path.display()),
            PortKind::Socket(path) => write!(f, "socket={}", path.display()),
        }?;
        match &self.name {
            Some(name) => write!(f, ",name={name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ConsoleSpec, BadConsoleSpec> {
        text.parse()
    }

    #[test]
    fn all_kinds_with_and_without_a_name() {
        for (text, kind) in [
            ("stdio", PortKind::Stdio),
            ("null", PortKind::Null),
            ("file=/tmp/a=b,c", PortKind::File("/tmp/a=b,c".into())),
            ("socket=s", PortKind::Socket("s".into())),
        ] {
            let name = None;
            let spec = ConsoleSpec { kind, name };
            assert_eq!(parse(text), Ok(spec.clone()));
            let name = Some("org.example.0".into());
            let named = ConsoleSpec { name, ..spec };
            assert_eq!(parse(&format!("{text},name=org.example.0")), Ok(named));
        }
    }

    #[test]
    fn what_is_no_console_says_what_one_is() {
        for text in [
            "", "stdin", "stdio,", "null=", "pty", ",name=x", "FILE=x", "stdio=1",
        ] {
            assert_eq!(parse(text), Err(BadConsoleSpec::Kind), "{text}");
        }
        for text in ["file", "file=", "file,name=x", "file=,name=x"] {
            assert_eq!(parse(text), Err(BadConsoleSpec::Path("file")), "{text}");
        }
        assert_eq!(parse("socket="), Err(BadConsoleSpec::Path("socket")));
        let long = format!("null,name={}", "x".repeat(MAX_NAME + 1));
        for text in ["null,name=", "null,name=a/b", "null,name=a\nb", &long] {
            assert_eq!(parse(text), Err(BadConsoleSpec::Name), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_shown_the_same(text in "(stdio|null|file=|socket=)[a-z,=/]{0,9}(,name=[a-z/=,]{0,5})?") {
            if let Ok(spec) = parse(&text) {
                prop_assert_eq!(spec.to_string(), text);
            }
        }

        #[test]
        fn no_text_upsets_the_parser(text: String) {
            let _ = parse(&text);
        }
    }
}
