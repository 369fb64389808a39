//! A real headless Chromium, driven over its DevTools protocol as a person drives it: by what is on
//! the screen and by input events.
//!
//! The protocol goes through a pipe (`--remote-debugging-pipe`): no port that another program could
//! meet, and the browser ends with the test however that ends. Things are found as a screen reader
//! finds them, by role and accessible name, so a control without a name cannot be clicked here.
//! Refuses to sleep: it waits for something to be so.

use crate::support::process::{WITHIN, pause};
use crate::support::sshd::WorkDir;
use serde_json::{Value, json};
use sshkeyd::sys::clock;
use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const CHROMIUM: &str = "chromium";

/// Between two looks.
const LOOK: Duration = Duration::from_millis(15);

/// The middle of a thing, and whether a click there reaches it. Notes whether the next one does.
const FREE: &str = "function() {
    const b = this.getBoundingClientRect();
    const x = b.x + b.width / 2, y = b.y + b.height / 2;
    const top = document.elementFromPoint(x, y);
    const mine = (e) => this.contains(e) || [...this.labels ?? []].some((l) => l.contains(e));
    globalThis.landed = false;
    // Drawn anew, it is another one and the same.
    const same = (e) => !!e.closest(this.localName)?.isEqualNode(this);
    const note = ({target: e}) => {globalThis.landed ||= mine(e) || same(e);};
    document.addEventListener('click', note, {capture: true, once: true});
    return {x, y, free: !!top && (mine(top) || top.contains(this)) && !this.disabled};
}";

/// How often a thing is clicked that moves away.
const CLICKS: u32 = 5;

/// The browser's pipe is descriptors 3 and 4; here they are its standard input and output.
const PIPE: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";

/// One browser program, with a fresh profile.
pub(crate) struct Chromium {
    pipe: Rc<RefCell<Pipe>>,
    child: Child,
    _profile: WorkDir,
}

impl Chromium {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let profile = WorkDir::new();
        let mut child = Command::new("sh")
            .args(["-c", PIPE, "sh", CHROMIUM])
            .args([
                "--headless",
                "--hide-scrollbars",
                "--no-sandbox",
                "--remote-debugging-pipe",
                "--disable-gpu",
                "--disable-quic",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--disable-component-update",
                "--disable-background-networking",
                "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
                "--no-first-run",
                "--no-default-browser-check",
                "--no-proxy-server",
                "--password-store=basic",
                "--force-color-profile=srgb",
                "--lang=en-GB",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, receive) = channel();
        // Ends with the browser, or with the one who listens.
        std::thread::spawn(move || {
            for message in BufReader::new(from).split(0) {
                let Ok(message) = message else { break };
                let Ok(message) = serde_json::from_slice(&message) else {
                    break;
                };
                if send.send(message).is_err() {
                    break;
                }
            }
        });
        let pipe = Pipe {
            to,
            from: receive,
            last: 0,
            events: Vec::new(),
        };
        let pipe = Rc::new(RefCell::new(pipe));
        let version = pipe
            .borrow_mut()
            .call(None, "Browser.getVersion", json!({}));
        assert!(
            version["product"].is_string(),
            "{CHROMIUM}: no answer; is Debian's package chromium here? tests/run installs it"
        );
        Self {
            pipe,
            child,
            _profile: profile,
        }
    }

    /// A browser of its own for somebody: no cookie and no cache of anybody else's.
    pub(crate) fn person(&self) -> Page {
        let call = |method: &str, params| self.pipe.borrow_mut().call(None, method, params);
        let context = call("Target.createBrowserContext", json!({}))["browserContextId"].clone();
        let target = call(
            "Target.createTarget",
            json!({"url": "about:blank", "browserContextId": context, "width": 1200, "height": 860}),
        );
        let attached = call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        let page = Page {
            pipe: self.pipe.clone(),
            session: attached["sessionId"].as_str().unwrap().to_owned(),
        };
        for domain in ["Page", "Runtime", "Log", "DOM", "Accessibility"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        call(
            "Browser.grantPermissions",
            json!({"browserContextId": context,
                   "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}),
        );
        // A page that is not in front has no focus and draws nothing.
        page.call(
            "Emulation.setFocusEmulationEnabled",
            json!({"enabled": true}),
        );
        page
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Pipe {
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    events: Vec<Value>,
}

impl Pipe {
    /// The answer; `null` when the browser refuses or is not there.
    #[track_caller]
    fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        if self.to.write_all(&text).is_err() {
            return Value::Null;
        }
        loop {
            let Ok(mut message) = self.from.recv_timeout(WITHIN) else {
                return Value::Null;
            };
            if message["id"] == self.last {
                return message["result"].take();
            }
            if message["method"].is_string() {
                self.events.push(message);
            }
        }
    }
}

/// One page of one person.
pub(crate) struct Page {
    pipe: Rc<RefCell<Pipe>>,
    session: String,
}

impl Page {
    #[track_caller]
    fn call(&self, method: &str, params: Value) -> Value {
        let mut pipe = self.pipe.borrow_mut();
        pipe.call(Some(&self.session), method, params)
    }

    /// Opens an address and waits until it is loaded.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait(
            "the page to be loaded",
            "document.readyState === 'complete'",
        );
    }

    /// Opens the same address anew and waits until that is loaded: what was shown before would
    /// otherwise be taken for what is shown after.
    #[track_caller]
    pub(crate) fn reload(&self) {
        self.eval("globalThis.before = true");
        self.call("Page.reload", json!({}));
        self.wait(
            "another page",
            "!globalThis.before && document.readyState === 'complete'",
        );
    }

    /// The value of an expression; a promise is waited for.
    #[track_caller]
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let mut answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        let fault = &answer["exceptionDetails"];
        assert!(fault.is_null(), "{expression}: {fault}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, expression: &str) {
        let expression = format!("!!({expression})");
        let is_so = || {
            let params = json!({"expression": expression, "returnByValue": true});
            let answer = self.call("Runtime.evaluate", params);
            (answer["result"]["value"] == true).then_some(())
        };
        if self.look(is_so).is_none() {
            panic!(
                "in vain waited for {what}: {:?}\n{}",
                self.faults(),
                self.text()
            );
        }
    }

    /// Looks again and again, as long as anything may take.
    fn look<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let began = clock::monotonic();
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            if clock::monotonic() - began > WITHIN {
                return None;
            }
            pause(LOOK);
        }
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub(crate) fn sees(&self, text: &str) {
        let quoted = Value::from(text);
        self.wait(text, &format!("document.body.innerText.includes({quoted})"));
    }

    /// Waits until it shows it no more.
    #[track_caller]
    pub(crate) fn sees_no(&self, text: &str) {
        let quoted = Value::from(text);
        let gone = format!("!document.body.innerText.includes({quoted})");
        self.wait(&format!("no {text}"), &gone);
    }

    /// All that is shown.
    pub(crate) fn text(&self) -> String {
        let text = self.eval("document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// A thing, as a screen reader finds it.
    fn find(&self, role: &str, name: &str) -> Option<Value> {
        let root = self.call("DOM.getDocument", json!({"depth": 0}));
        let found = self.call(
            "Accessibility.queryAXTree",
            json!({"nodeId": root["root"]["nodeId"], "role": role, "accessibleName": name}),
        );
        let nodes = found["nodes"].as_array()?;
        let node = nodes.iter().find(|node| node["ignored"] == false)?;
        Some(node["backendDOMNodeId"].clone())
    }

    /// Clicks in the middle of a thing; again, where it was pushed away under the mouse.
    #[track_caller]
    pub(crate) fn click(&self, role: &str, name: &str) {
        for _ in 0..CLICKS {
            let (x, y) = self.place(role, name);
            for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
                self.call(
                    "Input.dispatchMouseEvent",
                    json!({"type": kind, "x": x, "y": y, "buttons": buttons, "clickCount": 1,
                           "button": if kind == "mouseMoved" { "none" } else { "left" }}),
                );
            }
            // Another page knows nothing of it: then the click landed.
            let missed = json!({"expression": "globalThis.landed === false"});
            if self.call("Runtime.evaluate", missed)["result"]["value"] != true {
                return;
            }
        }
        panic!("{role} \"{name}\" does not hold still\n{}", self.text());
    }

    /// Where a thing is, once it is on the screen, nothing lies over it and it stays where it is:
    /// rows that come above it push it down.
    #[track_caller]
    fn place(&self, role: &str, name: &str) -> (f64, f64) {
        let (mut seen, mut before) = (Value::Null, Value::Null);
        let place = self.look(|| {
            let id = self.find(role, name)?;
            let node = json!({"backendNodeId": id});
            self.call("DOM.scrollIntoViewIfNeeded", node.clone());
            let object = self.call("DOM.resolveNode", node);
            before = seen.take();
            seen = self.call(
                "Runtime.callFunctionOn",
                json!({"objectId": object["object"]["objectId"], "returnByValue": true,
                       "functionDeclaration": FREE}),
            )["result"]["value"]
                .take();
            let stays = seen["free"] == true && seen == before;
            stays.then(|| (seen["x"].as_f64(), seen["y"].as_f64()))
        });
        let Some((Some(x), Some(y))) = place else {
            panic!(
                "no free {role} \"{name}\": {seen} {:?}\n{}",
                self.faults(),
                self.text()
            );
        };
        (x, y)
    }

    /// Clicks into a field and types over what is in it.
    #[track_caller]
    pub(crate) fn fill(&self, role: &str, name: &str, text: &str) {
        self.click(role, name);
        self.chord("a", 2);
        self.insert(text);
    }

    /// Text, as an input method gives it, where the focus is.
    pub(crate) fn insert(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// One key: `Tab`, `Enter`, `Escape`, `Space`, or a letter.
    pub(crate) fn press(&self, key: &str) {
        self.chord(key, 0);
    }

    /// One key with others held: 2 is Ctrl, 8 is Shift.
    pub(crate) fn chord(&self, key: &str, modifiers: u32) {
        let (key, code, number, text) = match key {
            "Tab" => ("Tab", "Tab".to_owned(), 9, ""),
            "Enter" => ("Enter", "Enter".to_owned(), 13, "\r"),
            "Escape" => ("Escape", "Escape".to_owned(), 27, ""),
            "Space" => (" ", "Space".to_owned(), 32, " "),
            letter => {
                let upper = letter.to_ascii_uppercase();
                let number = u32::from(upper.as_bytes()[0]);
                (letter, format!("Key{upper}"), number, "")
            }
        };
        let mut down = json!({"type": if text.is_empty() { "rawKeyDown" } else { "keyDown" },
            "key": key, "code": code, "windowsVirtualKeyCode": number, "text": text,
            "modifiers": modifiers});
        if key == "a" && modifiers == 2 {
            down["commands"] = json!(["selectAll"]);
        }
        self.call("Input.dispatchKeyEvent", down);
        self.call(
            "Input.dispatchKeyEvent",
            json!({"type": "keyUp", "key": key, "code": code, "windowsVirtualKeyCode": number,
                   "modifiers": modifiers}),
        );
    }

    /// Role and name of what has the focus.
    pub(crate) fn focused(&self) -> (String, String) {
        let object = self.call(
            "Runtime.evaluate",
            json!({"expression": "document.activeElement"}),
        );
        let tree = self.call(
            "Accessibility.getPartialAXTree",
            json!({"objectId": object["result"]["objectId"], "fetchRelatives": false}),
        );
        let node = &tree["nodes"][0];
        let of = |name: &str| node[name]["value"].as_str().unwrap_or_default().to_owned();
        (of("role"), of("name"))
    }

    /// Drops a file on a thing.
    #[track_caller]
    pub(crate) fn drop_file(&self, role: &str, name: &str, file: &std::path::Path) {
        let (x, y) = self.place(role, name);
        for kind in ["dragEnter", "dragOver", "drop"] {
            self.call(
                "Input.dispatchDragEvent",
                json!({"type": kind, "x": x, "y": y,
                       "data": {"items": [], "files": [file], "dragOperationsMask": 1}}),
            );
        }
    }

    /// The screen of a phone, so many pixels wide.
    pub(crate) fn phone(&self, width: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": 740, "deviceScaleFactor": 2, "mobile": true}),
        );
    }

    /// The screen of a desk.
    pub(crate) fn desk(&self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// What the person prefers: `light` or `dark`.
    pub(crate) fn scheme(&self, scheme: &str) {
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme},
                                {"name": "prefers-reduced-motion", "value": "reduce"}]}),
        );
    }

    /// What is on the screen, as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        use base64::Engine as _;
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = shot["data"].as_str().unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap()
    }

    /// What a screen reader is told: role, name and whether it takes the focus, in order.
    pub(crate) fn accessible(&self) -> Vec<(String, String, bool)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let said = |node: &Value, what: &str| node[what]["value"].as_str().unwrap_or("").to_owned();
        nodes
            .filter(|node| node["ignored"] == false)
            .map(|node| {
                let mut properties = node["properties"].as_array().into_iter().flatten();
                let focusable =
                    properties.any(|p| p["name"] == "focusable" && p["value"]["value"] == true);
                (said(node, "role"), said(node, "name"), focusable)
            })
            .collect()
    }

    /// What went wrong in the page so far: exceptions, errors on its console, what the policy
    /// stopped. A refusal by the service is none.
    pub(crate) fn faults(&self) -> Vec<String> {
        // What is still on its way comes before this answer.
        self.call("Runtime.evaluate", json!({"expression": "0"}));
        let pipe = self.pipe.borrow();
        let mine = pipe
            .events
            .iter()
            .filter(|e| e["sessionId"] == self.session.as_str());
        mine.filter_map(|event| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
                "Runtime.consoleAPICalled" if params["type"] == "error" => {
                    Some(params["args"].to_string())
                }
                "Log.entryAdded" => {
                    let entry = &params["entry"];
                    let serious = entry["level"] == "error" && entry["source"] != "network";
                    serious.then(|| entry["text"].to_string())
                }
                _ => None,
            }
        })
        .collect()
    }

    /// Holds that nothing went wrong.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{faults:?}");
    }
}
