//! A real browser, as a visitor has it: Debian's chromium, led through chromedriver.

use std::{
    fs,
    future::Future,
    net::TcpStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use ureq::http::Method;
use url::{ParseError, Url};

use super::{
    process::{Process, command, free_port, wait_for},
    python::installed,
};

/// How long the browser may take to start, and what is waited for to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one tab. It ends with its test.
pub(crate) struct Browser {
    // Before the driver, without which the browser does not live on.
    client: Client,
    runtime: Runtime,
    _driver: Process,
    _folder: TempDir,
}

/// What a screen is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    /// 1280 × 800, light.
    Light,
    /// 1280 × 800, dark.
    Dark,
    /// 390 × 844, light.
    Phone,
}

impl Screen {
    pub(crate) const ALL: [Self; 3] = [Self::Light, Self::Dark, Self::Phone];

    fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
            Self::Phone => "phone",
        }
    }
}

/// A command of Chromium's own protocol.
#[derive(Debug)]
struct Chromium(Value);

impl WebDriverCompatibleCommand for Chromium {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}

impl Browser {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut driver = command("chromedriver");
        driver.arg(format!("--port={port}"));
        let driver = Process::start("chromedriver", driver, &folder.path().join("log"));
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let options = json!({
            "binary": "/usr/bin/chromium",
            "args": [
                // As root, and in containers.
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                "--no-first-run", "--lang=en", "--window-size=1280,800", profile,
                // So that the browser ends with its driver, whatever ends that.
                "--remote-debugging-pipe",
            ],
        });
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        wait_for("chromedriver to listen", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = runtime.block_on(builder.connect(&format!("http://127.0.0.1:{port}")));
        let client = client.unwrap_or_else(|error| panic!("chromium does not start: {error}; run tests/run --install"));
        let browser = Self { client, runtime, _driver: driver, _folder: folder };
        browser.look_at(Screen::Light);
        browser
    }

    fn wait<T, E: std::fmt::Debug>(&self, future: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(future).unwrap()
    }

    /// A command of Chromium's own protocol.
    fn chromium(&self, name: &str, parameters: &Value) -> Value {
        self.wait(self.client.issue_cmd(Chromium(json!({ "cmd": name, "params": parameters }))))
    }

    pub(crate) fn go(&self, address: &str) {
        self.wait(self.client.goto(address));
    }

    pub(crate) fn address(&self) -> String {
        self.wait(self.client.current_url()).to_string()
    }

    /// The text of all elements that a selector finds, as it is seen.
    pub(crate) fn texts(&self, selector: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map(one => one.innerText)";
        serde_json::from_value(self.run(script, &[json!(selector)])).unwrap()
    }

    /// The text of the whole page.
    pub(crate) fn text(&self) -> String {
        self.texts("body").concat()
    }

    /// Waits until the text of an element that the selector finds contains `part`, and gives that text.
    pub(crate) fn wait_text(&self, selector: &str, part: &str) -> String {
        self.wait_text_within(PATIENCE, selector, part)
    }

    /// The same, within a time of its own.
    pub(crate) fn wait_text_within(&self, time: Duration, selector: &str, part: &str) -> String {
        let end = Instant::now() + time;
        loop {
            let texts = self.texts(selector);
            if let Some(found) = texts.iter().find(|text| text.contains(part)) {
                return found.clone();
            }
            assert!(Instant::now() < end, "within {time:?} no {selector} said {part:?}: {texts:?}; the page:\n{}", self.text());
        }
    }

    /// Waits until the script gives true.
    pub(crate) fn wait_true(&self, what: &str, script: &str) {
        wait_for(what, PATIENCE, || (self.run(script, &[]) == json!(true)).then_some(()));
    }

    /// Runs a script in the page, whatever its policy for scripts of its own.
    pub(crate) fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.wait(self.client.execute(script, arguments.to_vec()))
    }

    /// Clicks the first element that the selector finds.
    pub(crate) fn click(&self, selector: &str) {
        let found = self.wait(self.client.find(Locator::Css(selector)));
        self.wait(found.click());
    }

    /// Types into the first element that the selector finds.
    pub(crate) fn enter(&self, selector: &str, text: &str) {
        let found = self.wait(self.client.find(Locator::Css(selector)));
        self.wait(found.send_keys(text));
    }

    /// Presses keys, wherever the focus is.
    pub(crate) fn press(&self, keys: &str) {
        let focused = self.wait(self.client.active_element());
        self.wait(focused.send_keys(keys));
    }

    /// Opens another tab in front, which hides the page.
    pub(crate) fn open_tab(&self) {
        let tab = self.wait(self.client.new_window(true));
        self.wait(self.client.switch_to_window(tab.handle));
    }

    /// Comes back to the tab that was opened first.
    pub(crate) fn close_tab(&self) {
        self.wait(self.client.close_window());
        let first = self.wait(self.client.windows()).swap_remove(0);
        self.wait(self.client.switch_to_window(first));
    }

    /// As a browser is that runs no scripts of pages.
    pub(crate) fn without_scripts(&self) {
        self.chromium("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    }

    pub(crate) fn look_at(&self, screen: Screen) {
        let scheme = if screen == Screen::Dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.chromium("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
        let (width, height, phone) = if screen == Screen::Phone { (390, 844, true) } else { (1280, 800, false) };
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.chromium("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// The whole page as PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        let whole = self.chromium("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }));
        STANDARD.decode(whole["data"].as_str().unwrap()).unwrap()
    }

    /// The page from its head to the end of what the selector finds, in target/screenshots.
    pub(crate) fn picture_until(&self, selector: &str, name: &str) {
        let end = self
            .run("return document.querySelector(arguments[0]).getBoundingClientRect().bottom + scrollY + 12", &[json!(selector)]);
        let clip = json!({ "x": 0, "y": 0, "width": 1280, "height": end, "scale": 1 });
        let part = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let part = self.chromium("Page.captureScreenshot", &part);
        fs::write(screenshots().join(name), STANDARD.decode(part["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// Pictures of the page on every screen, in target/screenshots; and no screen has to be moved sideways.
    pub(crate) fn pictures(&self, name: &str) {
        let folder = screenshots();
        for screen in Screen::ALL {
            self.look_at(screen);
            fs::write(folder.join(format!("{name}-{}.png", screen.name())), self.picture()).unwrap();
            let wide = self.run("return document.documentElement.scrollWidth - innerWidth", &[]);
            assert!(wide.as_i64().unwrap() <= 0, "{name} is wider than the screen {screen:?} by {wide}");
        }
        self.look_at(Screen::Light);
    }

    /// What axe-core finds that keeps somebody from using the page, on every screen.
    pub(crate) fn assert_no_barriers(&self) {
        let axe = fs::read_to_string(installed("node/node_modules/axe-core/axe.min.js")).unwrap();
        for screen in Screen::ALL {
            self.look_at(screen);
            self.run(&axe, &[]);
            let script = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(one => \
                          [one.id, one.help, one.nodes.map(node => [node.html, node.failureSummary])])))";
            let found = self.wait(self.client.execute_async(script, Vec::new()));
            assert!(found == json!([]), "on the screen {screen:?}: {found:#}");
        }
        self.look_at(Screen::Light);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own end leaves nothing behind; in a test that has failed it ends with its driver.
        if !thread::panicking() {
            drop(self.runtime.block_on(self.client.clone().close()));
        }
    }
}

/// Where pictures go; not part of the repository.
pub(crate) fn screenshots() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    fs::create_dir_all(&folder).unwrap();
    folder
}
