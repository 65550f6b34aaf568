//! The schemas of what the program writes, by the name that each document gives for its own.

use serde_json::Value;

const SCHEMAS: [&str; 4] = [
    include_str!("../../schema/report-1.schema.json"),
    include_str!("../../schema/search-1.schema.json"),
    include_str!("../../schema/compare-1.schema.json"),
    include_str!("../../schema/merged-log-1.schema.json"),
];

/// What holds documents against the schema `name`.
#[track_caller]
pub(crate) fn validator(name: &str) -> jsonschema::Validator {
    let mut schemas = SCHEMAS.iter().map(|text| serde_json::from_str(text).expect("the schema is JSON"));
    let schema: Value =
        schemas.find(|schema: &Value| schema["$id"] == name).unwrap_or_else(|| panic!("no schema {name}"));
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a schema");
    jsonschema::validator_for(&schema).expect("the schema can be used")
}

/// That a document is what it says it is.
#[track_caller]
pub(crate) fn assert_valid(document: &Value) {
    let validator = validator(document["schema"].as_str().expect("the name of a schema"));
    let errors: Vec<_> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document}");
}
