//! The schemas of the program's documents. Each document names its schema.

use serde_json::Value;

const SCHEMAS: [&str; 4] = [
    include_str!("../../schema/report-1.schema.json"),
    include_str!("../../schema/search-1.schema.json"),
    include_str!("../../schema/compare-1.schema.json"),
    include_str!("../../schema/merged-log-1.schema.json"),
];

/// Returns a validator for the schema `name`.
#[track_caller]
pub(crate) fn validator(name: &str) -> jsonschema::Validator {
    let mut schemas = SCHEMAS.iter().map(|text| serde_json::from_str(text).expect("the schema is JSON"));
    let schema: Value =
        schemas.find(|schema: &Value| schema["$id"] == name).unwrap_or_else(|| panic!("no schema {name}"));
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is valid");
    jsonschema::validator_for(&schema).expect("the schema can be used")
}

/// Checks a document against the schema that it names.
#[track_caller]
pub(crate) fn assert_valid(document: &Value) {
    let validator = validator(document["schema"].as_str().expect("the name of a schema"));
    let errors: Vec<_> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document}");
}
