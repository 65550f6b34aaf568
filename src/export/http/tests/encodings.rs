//! Responses are compressed for the clients that accept it.

use flate2::read::GzDecoder;

use super::*;

fn get_with(telemetry: &Telemetry, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    exchange_bytes(telemetry, &request)
}

#[test]
fn compressed_documents_equal_the_others() {
    let (telemetry, _) = start_server();
    // The file of the profile is compressed in itself.
    let documents = DOCUMENTS.into_iter().filter(|path| *path != "/profile.pb.gz");
    for route in documents.chain(["/"]) {
        let (status, head, plain) = get_with(&telemetry, route, "");
        assert_eq!(status, 200, "{route}");
        assert!(!head.contains("content-encoding"), "{route}: {head}");
        let is_negotiated = |head: &str| {
            let vary = head.lines().find_map(|line| line.strip_prefix("vary: "));
            vary.is_some_and(|vary| {
                vary.contains("accept-encoding") && (vary.starts_with("accept,") == (route == "/metrics"))
            })
        };
        assert!(is_negotiated(&head), "{route}: {head}");

        let (_, head, compressed) = get_with(&telemetry, route, "Accept-Encoding: br;q=1.0, GZIP;q=0.8\r\n");
        assert!(head.contains("\r\ncontent-encoding: gzip\r\n") && is_negotiated(&head), "{route}: {head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", compressed.len())), "{route}: {head}");
        let mut decompressed = Vec::new();
        GzDecoder::new(&*compressed).read_to_end(&mut decompressed).unwrap();
        // The flame graph has random colours.
        let without_digits = |mut document: Vec<u8>| {
            document.retain(|byte| !byte.is_ascii_digit());
            document
        };
        assert!(without_digits(decompressed) == without_digits(plain), "{route}");
    }
}

#[test]
fn encodings_that_a_client_excludes_are_not_sent() {
    let (telemetry, _) = start_server();
    for excluded in ["gzip;q=0", "*;q=0, identity", "deflate"] {
        let (status, head, _) = get_with(&telemetry, "/metrics", &format!("Accept-Encoding: {excluded}\r\n"));
        assert_eq!(status, 200, "{excluded}");
        assert!(!head.contains("content-encoding"), "{excluded}: {head}");
    }
    for required in ["identity;q=0, gzip", "*, identity;q=0"] {
        let (_, head, _) =
            get_with(&telemetry, "/profile.pb.gz", &format!("Accept-Encoding: {required}\r\n"));
        assert!(head.contains("content-encoding: gzip"), "{required}: {head}");
    }
    let (status, _, body) = get_with(&telemetry, "/findings", "Accept-Encoding: *;q=0\r\n");
    assert_eq!(status, 406, "{body:?}");
}

#[test]
fn a_profile_is_not_compressed_twice() {
    let (telemetry, _) = start_server();
    let (_, head, body) = get_with(&telemetry, "/profile.pb.gz", "Accept-Encoding: gzip\r\n");
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(body.starts_with(&[0x1f, 0x8b]));
}

#[test]
fn the_metrics_format_with_the_highest_quality_is_sent() {
    let (telemetry, _) = start_server();
    let is_openmetrics = |accept: &str| {
        let (status, head, _) = get_with(&telemetry, "/metrics", &format!("Accept: {accept}\r\n"));
        assert_eq!(status, 200, "{accept}");
        head.contains("\r\ncontent-type: application/openmetrics-text")
    };
    assert!(!is_openmetrics("application/openmetrics-text;q=0.5,text/plain;q=0.9"));
    assert!(is_openmetrics("APPLICATION/OpenMetrics-Text;q=0.5,text/plain;q=0.4"));
    assert!(is_openmetrics("text/plain;q=0.4\r\nAccept: application/openmetrics-text;q=0.5"));
}
