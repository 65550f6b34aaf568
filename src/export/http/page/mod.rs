//! The live page at `/`: one document that includes its style and script. It
//! requests only `/live`, `/findings`, `/polls`, `/tasks?tree` and
//! `/profile.folded` from its own server.

use axum::http::HeaderValue;

macro_rules! script {
    () => {
        concat!(
            include_str!("format.js"),
            include_str!("settings.js"),
            include_str!("history.js"),
            include_str!("polls.js"),
            include_str!("view.js"),
            include_str!("lanes.js"),
            include_str!("chart.js"),
            include_str!("stall.js"),
            include_str!("details.js"),
            include_str!("findings.js"),
            include_str!("flame.js"),
            include_str!("tasks.js"),
            include_str!("tree.js"),
            include_str!("page.js"),
        )
    };
}

/// The whole document.
pub(crate) const INDEX: &str = concat!(
    include_str!("head.html"),
    "<style>\n",
    include_str!("page.css"),
    "</style>\n</head>\n",
    include_str!("body.html"),
    "<script>",
    script!(),
    "</script>\n</body>\n</html>\n"
);

/// Allows only this script to run, and does not let it write markup: the name
/// of a task or a file is always text.
pub(crate) const SECURITY_POLICY: HeaderValue = HeaderValue::from_static(concat!(
    "default-src 'none'; script-src ",
    include_str!("script.sha256"),
    "; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
));

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_policy_contains_the_hash_of_the_script() {
        let hash = format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(script!())));
        if std::env::var_os("LOOPSCOPE_BLESS").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/export/http/page/script.sha256");
            std::fs::write(path, &hash).unwrap();
        }
        let policy = SECURITY_POLICY.to_str().unwrap().to_owned();
        assert!(policy.contains(&hash), "the script has changed: run the tests once with LOOPSCOPE_BLESS=1");
    }

    #[test]
    fn the_page_loads_nothing_from_other_servers() {
        for forbidden in ["http://", "https://", "src=", "@import", "url(", "innerHTML", "import("] {
            assert!(!INDEX.contains(forbidden), "{forbidden}");
        }
    }
}
