//! Controls a headless Chromium by the DevTools protocol over two pipes. It
//! needs no driver program and no port.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{env, thread};

use serde_json::{Value, json};

const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// A browser process with one page.
pub struct Browser {
    process: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    next_id: u64,
    /// All events received so far, oldest first.
    pub events: Vec<Value>,
    profile: PathBuf,
}

impl Browser {
    /// Starts the browser. Returns `None` if Chromium is not installed.
    pub fn start() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let mut folders = env::split_paths(&env::var_os("PATH")?).collect::<Vec<_>>().into_iter();
        let program = folders
            .find_map(|folder| names.map(|name| folder.join(name)).into_iter().find(|p| p.is_file()))?;
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let started = STARTED.fetch_add(1, Relaxed);
        let profile = env::temp_dir().join(format!("loopscope-browser-{}-{started}", std::process::id()));
        // Chromium uses descriptors 3 and 4 for the protocol.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--no-first-run", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Chromium starts");
        let requests = process.stdin.take().expect("a pipe");
        let mut replies = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while replies.read_until(0, &mut bytes).is_ok_and(|read| read > 1) {
                let message = serde_json::from_slice(&bytes[..bytes.len() - 1]).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
        let session = String::new();
        let mut browser =
            Self { process, requests, messages, session, next_id: 0, events: Vec::new(), profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a protocol method and returns its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next_id += 1;
        let mut request = json!({ "id": self.next_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            request["sessionId"] = json!(self.session);
        }
        write!(self.requests, "{request}\0").expect("Chromium reads");
        loop {
            let mut message = self.messages.recv_timeout(REPLY_TIMEOUT).expect("Chromium answers");
            if message["id"] == self.next_id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// Evaluates a JavaScript expression and returns its value.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Returns the text of the first element that matches a selector, or an
    /// empty string if no element matches.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({})?.textContent ?? ''", json!(selector)));
        text.as_str().expect("a text").to_owned()
    }

    /// Presses a key: a character, or one that is named below.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            "End" => (35, ""),
            "Home" => (36, ""),
            "ArrowLeft" => (37, ""),
            "ArrowUp" => (38, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
            letter => (letter.to_ascii_uppercase().as_bytes()[0], letter),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let parameters = json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", parameters);
        }
    }

    /// Presses the mouse at a place of an element, moves it to another one and
    /// releases it. The places are shares of the element's width and height.
    pub fn drag(&mut self, selector: &str, from: (f64, f64), to: (f64, f64)) {
        self.value(&format!(
            "document.querySelector({}).scrollIntoView({{ block: 'center' }})",
            json!(selector)
        ));
        let (start, end) = (self.point(selector, from), self.point(selector, to));
        self.mouse("mouseMoved", start, "none");
        self.mouse("mousePressed", start, "left");
        if from != to {
            self.mouse("mouseMoved", end, "left");
        }
        self.mouse("mouseReleased", end, "left");
    }

    /// Turns the wheel over the middle of an element, with the control key.
    pub fn zoom_wheel(&mut self, selector: &str, delta: i32) {
        let (x, y) = self.point(selector, (0.5, 0.8));
        let event =
            json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": delta, "modifiers": 2 });
        self.call("Input.dispatchMouseEvent", event);
    }

    fn mouse(&mut self, kind: &str, (x, y): (f64, f64), button: &str) {
        let (buttons, clicks) = if button == "left" { (1, 1) } else { (0, 0) };
        let event = json!({ "type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": clicks });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Returns the place of a point of an element in the window.
    fn point(&mut self, selector: &str, (x, y): (f64, f64)) -> (f64, f64) {
        let box_of = format!(
            "(({{ left, top, width, height }}) => [left, top, width, height])\
             (document.querySelector({}).getBoundingClientRect())",
            json!(selector)
        );
        let sides = self.value(&box_of);
        let side = |index: usize| sides[index].as_f64().expect("a number");
        (side(0) + x * side(2), side(1) + y * side(3))
    }

    /// Chooses an option or sets a text, as a user does.
    pub fn choose(&mut self, selector: &str, value: &str) {
        self.value(&format!(
            "(() => {{ const field = document.querySelector({}); field.value = {}; \
             for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()",
            json!(selector),
            json!(value)
        ));
    }

    /// Clicks the first element that matches a selector.
    pub fn click(&mut self, selector: &str) {
        self.value(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Returns the accessibility tree that a screen reader uses: the role and
    /// name of each node, in document order.
    pub fn accessibility_nodes(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let text = |field: &Value| field["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().expect("nodes").iter();
        nodes
            .filter(|node| node["ignored"] == false)
            .map(|node| (text(&node["role"]), text(&node["name"])))
            .collect()
    }

    /// Sets the window size and the preferred color scheme (`light` or `dark`).
    pub fn set_appearance(&mut self, width: u32, height: u32, scheme: &str) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// Returns a screenshot of the window, as PNG in base64.
    pub fn screenshot(&mut self) -> String {
        let screenshot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        screenshot["data"].as_str().expect("a screenshot").to_owned()
    }

    /// Returns the URL of every request that the page has made.
    pub fn requested_urls(&self) -> Vec<String> {
        let is_request = |event: &&Value| event["method"] == "Network.requestWillBeSent";
        let url = |event: &Value| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned();
        self.events.iter().filter(is_request).map(url).collect()
    }

    /// Returns all console output: calls of `console`, exceptions, and the
    /// browser's own warnings.
    pub fn console_messages(&self) -> Vec<&Value> {
        let is_console_message = |event: &&Value| {
            ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"]
                .contains(&event["method"].as_str().unwrap_or_default())
        };
        self.events.iter().filter(is_console_message).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
