//! A headless Chromium, driven by its DevTools protocol over two pipes.
//!
//! With `--remote-debugging-pipe` the browser reads its orders from descriptor 3 and answers on descriptor 4: JSON, each
//! message ended by a NUL. A shell opens two named pipes there, since a descriptor of ours cannot be passed on safely.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How browsers of this kind are called.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// An answer takes milliseconds. This is for a browser that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Browser {
    child: Child,
    orders: File,
    answers: Receiver<Value>,
    next_id: u64,
    /// The tab that we look at.
    session: String,
    /// What has gone wrong on the pages: exceptions, files that are missing.
    pub(crate) errors: Vec<String>,
}

/// The path of a program, if it is here.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let mut all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.find(|path| path.is_file())
}

impl Browser {
    /// Starts a browser with a profile of its own. `None` if there is no browser here, or one that does not start: in
    /// some systems the name belongs to a program that only says how to install it.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let program = find(&NAMES)?;
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).expect("a folder");
        let pipes = [folder.join("orders"), folder.join("answers")];
        let made = Command::new("mkfifo").args(&pipes).status().expect("mkfifo");
        assert!(made.success(), "mkfifo");
        let child = Command::new("sh")
            .args(["-c", "exec 3<\"$1\" 4>\"$2\"; shift 2; exec \"$@\"", "sh"])
            .args(&pipes)
            .arg(program)
            // The pages are ours, and in a container there is often no sandbox to be had.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        // Opened for both, so that it does not wait for the other end. When we end, the browser reads the end of the file.
        let open = |path: &Path| File::options().read(true).write(true).open(path).expect("a pipe");
        let [orders, answers] = pipes.map(|path| open(&path));
        let answers = listen(BufReader::new(answers));
        let mut browser =
            Self { child, orders, answers, next_id: 0, session: String::new(), errors: Vec::new() };
        // A browser that has ended has closed its ends, but ours keep both pipes open: so look at the process too.
        while browser.child.try_wait().ok()?.is_none() {
            browser.order("Browser.getVersion", json!({}));
            if browser.answers.recv_timeout(Duration::from_secs(1)).is_ok() {
                browser.answers.try_iter().for_each(drop);
                browser.open_tab();
                return Some(browser);
            }
        }
        None
    }

    fn open_tab(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let tab = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", tab);
        session["sessionId"].as_str().expect("a session").clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Asks for something, and waits for the answer. Errors of the page that come in between are kept.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.order(method, params);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.answers.recv_timeout(left);
            let message = message.unwrap_or_else(|_| panic!("no answer to {method}"));
            if message["id"] == self.next_id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.errors.extend(error(&message));
        }
    }

    /// Asks for something. The browser does one thing after the other, so not every answer need be waited for.
    fn order(&mut self, method: &str, params: Value) {
        self.next_id += 1;
        let mut order = json!({"id": self.next_id, "method": method, "params": params});
        if !self.session.is_empty() {
            order["sessionId"] = json!(self.session);
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).expect("the browser reads");
    }

    /// The value of an expression in the page. A promise is waited for.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, expression: &str) {
        /// Ten milliseconds each: half of our patience.
        const LOOKS: u32 = 3000;
        let poll = format!(
            "new Promise((done) => {{ let left = {LOOKS}; const look = () =>
                ({expression}) ? done(true) : left-- ? setTimeout(look, 10) : done(false); look(); }})"
        );
        assert_eq!(self.eval(&poll), true, "it never came to: {expression}");
    }

    #[track_caller]
    pub(crate) fn open(&mut self, url: &str) {
        // Otherwise a page that differs in its fragment only would not be loaded anew.
        self.call("Page.navigate", json!({"url": "about:blank"}));
        self.call("Page.navigate", json!({"url": url}));
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'");
    }

    /// Presses a key a few times, as a reader does.
    pub(crate) fn press(&mut self, key: &str, times: usize) {
        let press = |kind: &str| json!({"type": kind, "key": key, "code": key});
        for _ in 0..times {
            self.order("Input.dispatchKeyEvent", press("rawKeyDown"));
        }
        self.call("Input.dispatchKeyEvent", press("keyUp"));
    }

    pub(crate) fn resize(&mut self, width: u32) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes the messages apart, in a thread of its own, so that a wait for one can have an end.
fn listen(mut answers: BufReader<File>) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut message = Vec::new();
        while answers.read_until(0, &mut message).is_ok_and(|length| length > 0) {
            message.pop();
            let Ok(value) = serde_json::from_slice(&message) else { break };
            if sender.send(value).is_err() {
                break;
            }
            message.clear();
        }
    });
    receiver
}

/// What a message says of a fault on the page.
fn error(message: &Value) -> Option<String> {
    let params = &message["params"];
    match message["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            Some(params["entry"].to_string())
        }
        "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
        _ => None,
    }
}
