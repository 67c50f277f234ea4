//! The JSON Schemas (draft 2020-12) of the reports, made from the types that are written.
//!
//! `docs/report.schema.json` and `docs/check.schema.json` are copies for readers; a test compares them.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::check::CheckReport;
use super::json::{RunReport, pretty};

/// A version of stickler.
pub(super) const VERSION: &str = r"^[0-9]+\.[0-9]+\.[0-9]+";

/// A version of the specification.
pub(super) const SPEC_VERSION: &str = r"^[0-9]+\.[0-9]+$";

/// The name of a requirement.
pub(super) const REQUIREMENT: &str = r"^[a-z0-9-]+(\.[a-z0-9-]+)+$";

/// A value for `--reading`.
pub(super) const READINGS: &str = r"^(lenient|strict)(,[a-z0-9-]+(\.[a-z0-9-]+)+=[a-z0-9-]+)*$";

/// The name of a latitude or a reading.
pub(super) const WORDS: &str = "^[a-z0-9]+(-[a-z0-9]+)*$";

/// The name of a feature.
pub(super) const FEATURE: &str = r"^([a-z]+\.[a-z0-9-]+|version-1|bit-[0-9]+)$";

/// A guest's instruction pointer.
pub(super) const RIP: &str = "^0x[0-9a-f]{16}$";

/// The schema of the report of one run, indented, with a newline at the end.
pub fn of_run() -> String {
    schema_of::<RunReport>()
}

/// The schema of the report of a check, indented, with a newline at the end.
pub fn of_check() -> String {
    schema_of::<CheckReport>()
}

fn schema_of<T: JsonSchema>() -> String {
    // The schema of what stickler writes: a field is required unless it may be skipped.
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(join_lines));
    pretty(&settings.into_generator().into_root_schema_for::<T>())
}

/// Takes the line breaks of doc comments out of descriptions.
fn join_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}

/// The clauses of one version of the specification.
pub(super) fn clauses() -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "items": { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*(-[0-9]+)?$" }
    })
}

/// How a requirement's outcome follows from its counts.
pub(super) fn outcome_and_counts() -> Value {
    json!([
        {
            "if": { "properties": { "outcome": { "const": "violated" } } },
            "then": { "properties": { "violated": { "minimum": 1 } } },
            "else": { "properties": { "violated": { "const": 0 } } }
        },
        {
            "if": { "properties": { "outcome": { "const": "held" } } },
            "then": { "properties": { "held": { "minimum": 1 } } }
        },
        {
            "if": { "properties": { "outcome": { "enum": ["not-exercised", "unobservable"] } } },
            "then": { "properties": { "held": { "const": 0 } } }
        }
    ])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn compare(file: &str, schema: &str, command: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == schema,
            "{file} is not the schema of the types; refresh it: cargo run -- {command} > {file}"
        );
    }

    #[test]
    fn the_files_in_docs_are_the_schemas_of_the_types() {
        compare("docs/report.schema.json", &of_run(), "report-schema");
        let command = "report-schema --check";
        compare("docs/check.schema.json", &of_check(), command);
    }
}
