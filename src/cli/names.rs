//! Names that completions of a shell propose, where a value may be more than one of them.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use stickler_conformance::{Latitude, catalogue};

/// Reads a value as `parse` does; completions propose `names`.
#[derive(Clone)]
pub struct Proposing<P> {
    parse: P,
    names: fn() -> Vec<&'static str>,
}

/// A value that may be the name of a latitude.
pub fn latitude<P: TypedValueParser>(parse: P) -> Proposing<P> {
    Proposing {
        parse,
        names: || Latitude::all().map(Latitude::name).collect(),
    }
}

/// A value that may be the name of a requirement.
pub fn requirement<P: TypedValueParser>(parse: P) -> Proposing<P> {
    Proposing {
        parse,
        names: || catalogue::iter().map(|(_, r)| r.name).collect(),
    }
}

impl<P: TypedValueParser> TypedValueParser for Proposing<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        self.parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.names)().into_iter().map(PossibleValue::new)))
    }
}
