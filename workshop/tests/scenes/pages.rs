//! The pages with scenes, in a browser. Without one, or without mdbook, the tests say that they skip.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use serde_json::{Value, json};

use super::browser::{Browser, find};
use super::{Files, list, number, pages, repository, root, scenes, scenes_of, text};

/// The narrowest phone that we care about.
const NARROW: u32 = 390;
const WIDE: u32 = 1280;

/// mdbook's.
const THEMES: [&str; 5] = ["light", "rust", "coal", "navy", "ayu"];

/// In a book of a few pages, so that the player is tried whatever scenes the real one has.
#[test]
fn a_scene_is_stepped_through_by_key_by_link_and_by_switch() {
    let scene = sample_scene("one");
    on_the_sample(|browser, book| {
        for page in ["one.html", "steps/two.html"] {
            let url = format!("{book}/{page}");
            browser.open(&url);
            step_through(browser, "one", &scene);
            play_and_pause(browser, "one");
            follow_links(browser, "one", &scene);
            try_what_if(browser, "one", &scene["what_if"]);
            assert_eq!(browser.eval(&format!("{}.dataset.waits", root_of("one"))), "A");
            on_paper_is_the_strip(browser, "one");
            fits(browser, &url);
            assert_eq!(browser.errors, [""; 0], "{page}");
        }
    });
}

#[test]
fn several_scenes_run_on_one_clock_and_say_who_waits_for_whom() {
    on_the_sample(|browser, book| {
        let url = format!("{book}/many.html");
        browser.open(&url);
        browser.wait_for("document.querySelector('.scenes.ready')");
        // It begins an action before the end. There B has been served by the one, and waits for A in the other.
        browser.eval("document.querySelector('.scenes').focus()");
        browser.press("End", 1);
        assert_eq!(said(browser, "data-fares=\"one.B\""), "served");
        assert_eq!(said(browser, "data-fares=\"blocking.B\""), "waits for A");
        browser.press("Home", 1);
        assert_eq!(said(browser, "data-fares=\"one.B\""), "not here yet");
        let link = "document.querySelector('[data-card=blocking] a').getAttribute('href')";
        assert_eq!(browser.eval(link), "stage1.html#blocking.step=1");
        fits(browser, &url);
        assert_eq!(browser.errors, [""; 0]);
    });
}

#[test]
fn words_can_be_told_from_their_background_in_every_theme() {
    on_the_sample(|browser, book| {
        for (step, theme) in [1, 2].into_iter().flat_map(|step| THEMES.map(|theme| (step, theme))) {
            browser.open(&format!("{book}/one.html#one.what-if.step={step}"));
            browser.wait_for("document.querySelector('.ready')");
            browser.eval(&format!("document.getElementById('mdbook-theme-{theme}').click()"));
            let is_there = format!("document.documentElement.classList.contains('{theme}')");
            browser.wait_for(&is_there);
            assert_eq!(browser.eval(include_str!("contrast.js")), json!([]), "{theme}, {step}");
        }
    });
}

/// Its queues are empty then, and it is not served yet.
#[test]
fn what_the_server_has_read_and_not_written_is_in_its_hand() {
    on_the_sample(|browser, book| {
        for (step, bytes, fares) in [(3, "0", "waits"), (4, "5", "waits"), (5, "0", "served")] {
            browser.open(&format!("{book}/one.html#one.step={step}"));
            browser.wait_for(&format!("document.querySelector('.ready')?.dataset.step == {step}"));
            assert_eq!(said(browser, "data-queue=\"B.hand\""), bytes, "step {step}");
            assert_eq!(said(browser, "data-fares=\"B\""), fares, "step {step}");
        }
    });
}

/// Its strip stays.
#[test]
fn a_scene_whose_recording_is_missing_stops_no_other() {
    on_the_sample(|browser, book| {
        let folder = PathBuf::from(book.trim_start_matches("file://"));
        let page = fs::read_to_string(folder.join("one.html")).expect("a page");
        let gone = "<div class=\"scene\" data-scene=\"gone\"><img src=\"scenes/one.svg\"></div>";
        let page = page.replacen("<div class=\"scene\"", &format!("{gone}<div class=\"scene\""), 1);
        fs::write(folder.join("gone.html"), page).expect("a page");
        browser.open(&format!("{book}/gone.html#one.step=2"));
        browser.wait_for(&format!("{}.dataset.step === '2'", root_of("one")));
        let strip = format!("getComputedStyle({}.querySelector('img')).display", root_of("gone"));
        assert_ne!(browser.eval(&strip), "none");
    });
}

/// A screen reader says the name of a button that has the focus, and what changes in a live region.
#[test]
fn to_those_who_listen_the_button_is_named_by_what_it_does_and_the_end_is_said() {
    on_the_sample(|browser, book| {
        for (page, root) in [
            ("one.html", root_of("one")),
            ("many.html", "document.querySelector('.scenes')".to_owned()),
        ] {
            browser.open(&format!("{book}/{page}"));
            browser.wait_for(&format!("{root}?.classList.contains('ready')"));
            let button = format!("{root}.querySelector('.controls button:nth-of-type(2)')");
            let names =
                format!("{button}.ariaLabel + ', ' + ({button}.title || {button}.ariaLabel)");
            browser.eval(&format!("{button}.click()"));
            assert_eq!(browser.eval(&names), "Pause, Pause", "{page}");
            browser.eval(&format!("{button}.click()"));
            assert_eq!(browser.eval(&names), "Play, Play", "{page}");
            for said in
                [".caption", ".now", ".end"].iter().take(if page == "one.html" { 3 } else { 1 })
            {
                let is_live = format!(
                    "{root}.querySelector('{said}').closest('[aria-live=polite]') !== null"
                );
                assert_eq!(browser.eval(&is_live), true, "{page}, {said}");
            }
        }
    });
}

/// The page for paper has all chapters in one.
#[test]
fn on_the_page_for_paper_no_scene_starts_and_each_has_its_strip() {
    on_the_sample(|browser, book| {
        browser.open(&format!("{book}/print.html"));
        let strips = "[...document.querySelectorAll('.scene img')]";
        assert_eq!(browser.eval(&format!("{strips}.length")), 2);
        browser.wait_for(&format!("{strips}.every((strip) => strip.complete)"));
        let are_there = browser.eval(&format!("{strips}.every((strip) => strip.naturalWidth > 0)"));
        assert_eq!(are_there, true);
        assert_eq!(browser.eval("document.querySelectorAll('.player').length"), 0);
        assert_eq!(browser.errors, [""; 0]);
    });
}

/// The real book, with all the scenes that it has.
#[test]
fn every_scene_of_the_book_plays_on_its_page() {
    let (files, scenes) = (repository(), scenes());
    if scenes.is_empty() {
        return eprintln!("skipped: no scene is recorded");
    }
    let book = target("scenes-book");
    in_browser(built(&root().join("docs"), &book), |browser, url| {
        for (page, name) in places(&files) {
            let scene = scenes.iter().find(|scene| scene.name == name);
            let scene = &scene.expect("another test says so").data;
            browser.open(&format!("{url}/{page}"));
            step_through(browser, &name, scene);
            follow_links(browser, &name, scene);
            the_strip_says_the_same(browser, &name, scene);
            if !scene["what_if"].is_null() {
                try_what_if(browser, &name, &scene["what_if"]);
            }
            assert_eq!(browser.errors, [""; 0], "{page}");
        }
        let pages: BTreeSet<_> = places(&files).into_iter().map(|(page, _)| page).collect();
        pages.iter().for_each(|page| fits(browser, &format!("{url}/{page}")));
        let several = files.iter().filter(|(_, text)| text.contains("data-scenes="));
        several.for_each(|(page, _)| cards_lead_to_their_scenes(browser, url, page));
        no_page_is_large(&book);
    });
}

// ---- what a page has to do

/// To the end step by step, and back by key: on the way the page shows what the data says.
fn step_through(browser: &mut Browser, name: &str, scene: &Value) {
    browser.wait_for(&format!("{}?.classList.contains('ready')", root_of(name)));
    let here = browser.eval("location.pathname");
    browser.eval(&format!("{}.focus()", root_of(name)));
    browser.press("Home", 1);
    shows(browser, name, scene, 1);
    let last = list(scene, "steps").len();
    browser.press("ArrowRight", last - 1);
    shows(browser, name, scene, last);
    browser.press("ArrowRight", 1); // past the end
    browser.press("ArrowLeft", 2);
    shows(browser, name, scene, last - 2);
    browser.press("Home", 1);
    shows(browser, name, scene, 1);
    browser.press("End", 1);
    shows(browser, name, scene, last);
    // mdbook turns the page with the same keys.
    assert_eq!(browser.eval("location.pathname"), here);
}

/// It plays by itself from the beginning, until the reader steps.
fn play_and_pause(browser: &mut Browser, name: &str) {
    let root = root_of(name);
    let button = format!("{root}.querySelector('.controls button:nth-of-type(2)')");
    browser.eval(&format!("{button}.click()"));
    assert_eq!(browser.eval(&format!("{button}.getAttribute('aria-label')")), "Pause");
    browser.wait_for(&format!("{root}.dataset.step === '2'"));
    browser.press("ArrowLeft", 1);
    assert_eq!(browser.eval(&format!("{button}.getAttribute('aria-label')")), "Play");
    assert_eq!(browser.eval(&format!("{root}.dataset.step")), "1");
}

/// The page shows this step: its number, its caption, and every byte. Steps are counted from 1.
#[track_caller]
fn shows(browser: &mut Browser, name: &str, scene: &Value, step: usize) {
    let root = root_of(name);
    assert_eq!(browser.eval(&format!("{root}.dataset.step")), step.to_string(), "{name}");
    let data = &list(scene, "steps")[step - 1];
    let caption = browser.eval(&format!("{root}.querySelector('.caption').textContent"));
    assert_eq!(caption, text(data, "caption"), "{name}, step {step}");
    let queues = browser.eval(&format!(
        "Object.fromEntries([...{root}.querySelectorAll('[data-queue]')].map((element) =>
            [element.dataset.queue, Number(element.textContent.replaceAll(',', ''))]))"
    ));
    for (queue, shown) in queues.as_object().expect("queues") {
        let (client, queue) = queue.split_once('.').expect("a client and a queue");
        let expected = match queue {
            "hand" => continue, // the player reckons it
            "outbox" => number(&data["server"]["outbox"], client),
            queue => number(&data["connections"][client], queue),
        };
        assert_eq!(shown.as_u64(), Some(expected), "{name}, step {step}: {client}.{queue}");
    }
    let line = browser
        .eval(&format!("{root}.querySelector('.code [aria-current=step]')?.dataset.line ?? null"));
    let expected = data["at"]["line"].as_u64().map_or(Value::Null, |line| json!(line.to_string()));
    assert_eq!(line, expected, "{name}, step {step}: the line");
}

/// A link to a step shows it, and the address follows the reader.
fn follow_links(browser: &mut Browser, name: &str, scene: &Value) {
    browser.eval(&format!("location.hash = '#{name}.step=3'"));
    browser.wait_for(&format!("{}.dataset.step === '3'", root_of(name)));
    shows(browser, name, scene, 3);
    browser.press("ArrowLeft", 1);
    browser.wait_for(&format!("location.hash === '#{name}.step=2'"));
}

/// The switch plays what happens with the fault, up to its end.
fn try_what_if(browser: &mut Browser, name: &str, what_if: &Value) {
    let root = root_of(name);
    browser.eval(&format!("{root}.querySelector('[role=switch]').click()"));
    assert_eq!(browser.eval(&format!("{root}.dataset.whatIf")), "true");
    browser.press("End", 1);
    shows(browser, name, what_if, list(what_if, "steps").len());
    browser.eval(&format!("{root}.querySelector('[role=switch]').click()"));
    assert_eq!(browser.eval(&format!("{root}.dataset.whatIf")), "false");
    browser.eval(&format!("location.hash = '#{name}.what-if.step=1'"));
    browser.wait_for(&format!("{root}.dataset.whatIf === 'true' && {root}.dataset.step === '1'"));
    browser.press("End", 1);
}

/// The strip is drawn by another program than the player, from the same data.
fn the_strip_says_the_same(browser: &mut Browser, name: &str, scene: &Value) {
    let strip = root().join(super::FOLDER).join(format!("{name}.svg"));
    let strip = fs::read_to_string(strip).expect("another test says so");
    for moment in list(scene, "moments").iter().filter_map(Value::as_u64) {
        browser.eval(&format!("location.hash = '#{name}.step={}'", moment + 1));
        browser.wait_for(&format!("{}.dataset.step === '{}'", root_of(name), moment + 1));
        let fares = browser.eval(&format!(
            "[...{}.querySelectorAll('[data-fares]')].map((element) => element.textContent)",
            root_of(name)
        ));
        let part = strip.split(&format!(">{}. ", moment + 1)).nth(1).expect("the moment");
        let part = part.split("<path class=\"line\"").next().unwrap_or_default();
        for words in fares.as_array().expect("words").iter().filter_map(Value::as_str) {
            let said = words == "not here yet" || part.contains(&format!(">{words}<"));
            assert!(said, "{name}, step {}: the strip does not say {words:?}", moment + 1);
        }
        let bytes = browser.eval(&format!(
            "[...{}.querySelectorAll('.bar [data-queue]')].map((element) => element.textContent)",
            root_of(name)
        ));
        for bytes in bytes.as_array().expect("bytes").iter().filter_map(Value::as_str) {
            let said = bytes == "0" || part.contains(&format!(">{bytes}<"));
            assert!(said, "{name}, step {}: the strip does not say {bytes}", moment + 1);
        }
    }
}

fn on_paper_is_the_strip(browser: &mut Browser, name: &str) {
    let shown = |browser: &mut Browser, what: &str| {
        let element = format!("{}.querySelector('{what}')", root_of(name));
        browser.eval(&format!("getComputedStyle({element}).display !== 'none'"))
    };
    assert_eq!([shown(browser, "img"), shown(browser, ".player")], [false, true], "on the screen");
    browser.call("Emulation.setEmulatedMedia", json!({"media": "print"}));
    assert_eq!([shown(browser, "img"), shown(browser, ".player")], [true, false], "on paper");
    browser.call("Emulation.setEmulatedMedia", json!({"media": ""}));
}

/// On a phone the page need not be scrolled sideways. What stands out would be cut off: mdbook hides it.
#[track_caller]
fn fits(browser: &mut Browser, url: &str) {
    browser.resize(NARROW);
    browser.open(url);
    browser.wait_for("document.querySelector('.ready')");
    let width = browser.eval("document.documentElement.scrollWidth");
    assert!(width.as_u64().is_some_and(|width| width <= NARROW.into()), "{width} pixels wide");
    let outside = browser.eval(
        "[...document.querySelectorAll('.player, .player *')]
            .filter((element) => !element.closest('.player :is(svg, .code, .log, .aloud)'))
            .filter((element) => element.getBoundingClientRect().right > innerWidth)
            .map((element) => element.className)",
    );
    assert_eq!(outside, json!([]), "stands out of a phone");
    browser.resize(WIDE);
}

/// A click on one of several scenes leads to the page that plays it alone.
fn cards_lead_to_their_scenes(browser: &mut Browser, book: &str, page: &str) {
    let Some(page) = page.strip_prefix("docs/src/") else { return };
    browser.open(&format!("{book}/{}", page.replace(".md", ".html")));
    browser.wait_for("document.querySelector('.scenes.ready')");
    let links = browser.eval(
        "[...document.querySelectorAll('.card')].map((card) =>
            [card.dataset.card, decodeURI(new URL(card.querySelector('a').href).pathname)])",
    );
    for link in links.as_array().expect("links") {
        let (name, path) = (&link[0], link[1].as_str().expect("a path"));
        let text = fs::read_to_string(path).unwrap_or_default();
        assert!(text.contains(&format!("data-scene={name}")), "{path} does not play {name}");
    }
}

fn no_page_is_large(book: &Path) {
    for page in super::files_in(book, &["html"]) {
        // The page for paper is the whole book.
        let size = fs::metadata(&page).expect("a page").len();
        let is_for_paper = page.file_name().is_some_and(|name| name == "print.html");
        assert!(is_for_paper || size < 1_000_000, "{}: {size} bytes", page.display());
    }
}

// ---- books and places

/// The text of an element that has this attribute.
fn said(browser: &mut Browser, attribute: &str) -> Value {
    browser.eval(&format!("document.querySelector('[{attribute}]').textContent"))
}

/// The scene's root element, as an expression.
fn root_of(name: &str) -> String {
    format!("document.querySelector('[data-scene=\"{name}\"]')")
}

/// The pages of the built book that play a scene by itself.
fn places(files: &Files) -> Vec<(String, String)> {
    let shown = pages(files).flat_map(|(page, text)| scenes_of(page, text));
    let alone = shown.filter(|shown| shown.names.len() == 1);
    let html = |page: &str| page.replace("docs/src/", "").replace(".md", ".html");
    alone.map(|shown| (html(&shown.page), shown.names[0].clone())).collect()
}

fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Builds a book. `None` if there is no mdbook.
fn built(docs: &Path, book: &Path) -> Option<PathBuf> {
    let mdbook = find(&["mdbook"])?;
    let _ = fs::remove_dir_all(book);
    let output = Command::new(mdbook).arg("build").arg(docs).arg("--dest-dir").arg(book).output();
    let output = output.expect("mdbook");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(book.to_owned())
}

/// Does something with the pages of the sample, by their address.
fn on_the_sample(test: impl FnOnce(&mut Browser, &str)) {
    static BOOK: OnceLock<Option<PathBuf>> = OnceLock::new();
    let book = BOOK.get_or_init(|| {
        let folder = target("scenes-sample");
        write_sample_book(&folder.join("docs"));
        built(&folder.join("docs"), &folder.join("book"))
    });
    in_browser(book.clone(), test);
}

/// Does something with the pages of a book, by their address, if there is a browser.
fn in_browser(book: Option<PathBuf>, test: impl FnOnce(&mut Browser, &str)) {
    let Some(book) = book else { return eprintln!("skipped: no mdbook") };
    let Some(browser) = shared_browser() else { return eprintln!("skipped: no Chromium") };
    // Another test has failed, and that is its own matter.
    let mut browser = browser.lock().unwrap_or_else(PoisonError::into_inner);
    browser.errors.clear();
    browser.call("Emulation.setEmulatedMedia", json!({"media": ""}));
    browser.resize(WIDE);
    test(&mut browser, &format!("file://{}", book.display()));
}

/// One browser for the tests that run at the same time: to start one costs more than most of the tests. The last test
/// that has it ends it.
fn shared_browser() -> Option<Arc<Mutex<Browser>>> {
    static SHARED: Mutex<(Weak<Mutex<Browser>>, usize)> = Mutex::new((Weak::new(), 0));
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(browser) = shared.0.upgrade() {
        return Some(browser);
    }
    // In a folder of its own, since the one before may be about to end.
    shared.1 += 1;
    let browser = Browser::start(&target(&format!("scenes-browser-{}", shared.1)))?;
    let browser = Arc::new(Mutex::new(browser));
    shared.0 = Arc::downgrade(&browser);
    Some(browser)
}

/// Writes a book of a few pages with our player and the sample scenes.
fn write_sample_book(docs: &Path) {
    let _ = fs::remove_dir_all(docs);
    let write = |path: &str, text: &str| {
        let path = docs.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    for name in
        ["book.toml", "book.css", "scenes/player.js", "scenes/together.js", "scenes/player.css"]
    {
        write(
            name,
            &fs::read_to_string(root().join("docs").join(name)).expect("a file of the book"),
        );
    }
    let page = |folder: &str| {
        format!(
            "# A page\n\n<div class=\"scene\" data-scene=\"one\"><img src=\"{folder}scenes/one.svg\" alt=\"A waits\"></div>\n"
        )
    };
    write("src/SUMMARY.md", "- [One](one.md)\n- [Two](steps/two.md)\n- [Many](many.md)\n");
    write("src/one.md", &page(""));
    write("src/steps/two.md", &page("../"));
    write(
        "src/many.md",
        "# Many\n\n<div class=\"scenes\" data-scenes=\"one blocking\"><img src=\"scenes/one.svg\" alt=\"A waits\"></div>\n",
    );
    write(
        "src/scenes/one.svg",
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>",
    );
    for name in ["one", "blocking"] {
        write(&format!("src/scenes/{name}.js"), &format!("scene({});", sample_scene(name)));
    }
}

/// A and B connect, and B sends five bytes. One server gives them back. With the fault it also forgets A, and the other,
/// `blocking`, waits for A.
fn sample_scene(name: &str) -> Value {
    let is_blocking = name == "blocking";
    let asleep = if is_blocking { "recvfrom(A, …, 65536)" } else { "epoll_wait(epoll, …)" };
    let mut steps = vec![
        step("A", "connects", json!({"A": {"accepted": true}})),
        step("server", asleep, json!({"A": {"accepted": true}})),
        step("B", "connects and sends 5 bytes", json!({"A": {}, "B": {"server_in": 5}})),
    ];
    if !is_blocking {
        let mut read = step("server", "recvfrom(B, …, 65537)", json!({"A": {}, "B": {}}));
        (read["answer"], read["asleep"]) = (json!("5"), json!(false));
        steps.push(read);
        steps.push(step("server", "epoll_wait(epoll, …)", json!({"A": {}, "B": {"client_in": 5}})));
    }
    let forgotten = vec![
        step("A", "connects and sends 12000 bytes", json!({"A": {"server_in": 12000}})),
        step("server", "epoll_wait(epoll, …)", json!({"A": {"server_in": 12000}})),
    ];
    let code = json!([{"file": "a.rs", "first": 7, "lines": ["fn wait() {", "    poll();", "}"]}]);
    json!({
        "name": name, "title": "Two clients", "about": "A is silent.",
        "program": if is_blocking { "stage1-blocking" } else { "stage5-mio" },
        "options": [], "recorded": "Linux 6.18, 2026-11-26", "small_buffers": false,
        "clients": [{"name": "A", "about": "is silent"}, {"name": "B", "about": "talks"}],
        "capacity": {"client_out": 0, "server_in": 20000, "server_out": 0, "client_in": 5, "outbox": 9},
        "code": code, "steps": steps, "moments": [0, 1, 2],
        "what_if": {"title": "A is forgotten", "about": "…", "code": code, "steps": forgotten, "moments": [0]},
    })
}

/// A step of the sample. A server's step is a call in which it then sleeps.
fn step(who: &str, does: &str, connections: Value) -> Value {
    let mut all = serde_json::Map::new();
    for (name, given) in connections.as_object().expect("connections") {
        let mut connection = json!({"connected": true, "accepted": false, "client_out": 0, "server_in": 0,
            "server_out": 0, "client_in": 0, "returned": 0, "fin": "none", "reset": false});
        for (field, value) in given.as_object().expect("fields") {
            connection[field] = value.clone();
        }
        all.insert(name.clone(), connection);
    }
    let is_server = who == "server";
    json!({
        "clock": 0.0, "who": who, "thread": 0, "does": if is_server { None } else { Some(does) },
        "call": is_server.then_some(does), "answer": null, "asleep": is_server,
        "at": if is_server { json!({"file": "a.rs", "line": 8, "function": "wait"}) } else { Value::Null },
        "code_text": is_server.then_some("poll();"), "connections": all, "backlog": [], "ready": [],
        "server": {"outbox": {"A": 0, "B": 0}, "due": []}, "caption": format!("{who}: {does}, with {} clients", all_names(&connections)),
    })
}

fn all_names(connections: &Value) -> String {
    connections.as_object().map_or(0, serde_json::Map::len).to_string()
}
