//! The page at `/`.

/// A list of the routes: no script, no style but its own, nothing fetched.
pub(super) const INDEX: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>loopscope</title>
<style>:root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; max-width: 45rem }</style>
</head>
<body>
<h1>loopscope</h1>
<p>What blocks the event loop of this process.</p>
<dl>
<dt><a href="/findings.txt">/findings.txt</a></dt><dd>what blocked so far, drawn as compiler warnings</dd>
<dt><a href="/findings">/findings</a></dt><dd>the same as JSON (<code>loopscope.findings/1</code>)</dd>
<dt><a href="/stalls">/stalls</a></dt><dd>recent stalls as JSON; with <code>?since=</code> a time in Unix seconds, those after it</dd>
<dt><a href="/metrics">/metrics</a></dt><dd>for Prometheus</dd>
<dt><a href="/healthz">/healthz</a></dt><dd>200, or 503 while every worker is blocked</dd>
</dl>
</body>
</html>
"#;
