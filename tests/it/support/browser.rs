//! Debian's chromium, driven by the WebDriver protocol (plain HTTP with JSON) as a person would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// A browser window; closed when it is dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// A window of this many CSS pixels.
    pub fn open(width: u32, height: u32) -> Browser {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Its windows are in the same group: they go with it, whatever happens.
            .process_group(0)
            .spawn()
            .expect("chromedriver is installed");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_suffix('.')?.split_once("successfully on port ")?.1.parse().ok());
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Browser { driver, port: port.expect("chromedriver says its port"), session: String::new() };
        let arguments = [
            "--headless=new",
            // The tests may run as root, and in containers with little shared memory.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "/session", &capabilities);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        // A window cannot be as narrow as a phone, but a device can.
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        browser.devtools("Emulation.setDeviceMetricsOverride", metrics);
        browser
    }

    /// As in the dark, or in the light.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    /// No page's own scripts run from now on.
    pub fn without_javascript(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    }

    pub fn go(&self, url: &str) {
        self.session("POST", "url", &json!({ "url": url }));
    }

    /// Runs a script in the page and gives what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.session("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of the first element that a CSS selector finds, as a person sees it.
    pub fn text(&self, selector: &str) -> String {
        loop {
            let found = self.session("POST", "element", &json!({ "using": "css selector", "value": selector }));
            let Some(id) = found.as_object().and_then(|found| found.values().next()?.as_str()) else {
                return String::new();
            };
            // A live page may have put another in its place meanwhile: then that one is asked.
            if let Value::String(text) = self.session("GET", &format!("element/{id}/text"), &Value::Null) {
                return text;
            }
        }
    }

    /// Types into the first element that a CSS selector finds.
    pub fn write(&self, selector: &str, text: &str) {
        let found = self.session("POST", "element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()?.as_str()).expect("there is such an element");
        self.session("POST", &format!("element/{id}/value"), &json!({ "text": text }));
    }

    /// The whole page as a PNG.
    pub fn screenshot(&self, file: &Path) {
        let taken = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, decode(taken["data"].as_str().expect("a picture"))).unwrap();
    }

    /// What the page has complained about, and what the policy of its headers has stopped.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.session("POST", "se/log", &json!({ "type": "browser" }));
        log.as_array().into_iter().flatten().map(|entry| entry["message"].to_string()).collect()
    }

    fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.session("POST", "goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}/{path}", self.session), body)
    }

    /// One request; the `value` of its answer.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("chromedriver listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .unwrap();
        // It does not close, whatever it was asked: its header says how much there is to read.
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            match line.trim_end().split_once(':') {
                Some((key, value)) if key.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap()
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let value = answer["value"].clone();
        let missing = value["error"] == "no such element" || value["error"] == "stale element reference";
        assert!(value["error"].is_null() || missing, "{method} {path}: {value}");
        if missing { Value::Null } else { value }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let id = i32::try_from(self.driver.id()).expect("a process id");
        let _ = kill_process_group(Pid::from_raw(id).expect("not 0"), Signal::KILL);
        let _ = self.driver.wait();
    }
}

/// Base64 (RFC 4648) of a driver that writes it right.
fn decode(text: &str) -> Vec<u8> {
    let sextet = |octet: u8| match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|octet| *octet != b'=').map(sextet).collect();
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
