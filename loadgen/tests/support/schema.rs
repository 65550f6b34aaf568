//! The report's schema.

use serde_json::Value;

/// What holds reports against their schema.
pub(crate) fn validator() -> jsonschema::Validator {
    let schema: Value =
        serde_json::from_str(include_str!("../../schema/report-1.schema.json")).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a schema");
    jsonschema::validator_for(&schema).expect("the schema can be used")
}

/// That it is a report.
#[track_caller]
pub(crate) fn assert_valid(report: &Value) {
    let validator = validator();
    let errors: Vec<_> =
        validator.iter_errors(report).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{report}");
}
