//! The recorded scenes of the book are true of today's sources, and its pages play them.
//!
//! Here the recordings are read as data; `pages.rs` looks at the pages in a browser, if there is one.

#[cfg(unix)]
mod browser;
#[cfg(unix)]
mod pages;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The most that a reader steps through, and that a page loads.
const MOST_STEPS: usize = 60;
const MOST_BYTES: usize = 300_000;
/// A strip is a picture on a page, in two columns if it has to be.
const MOST_MOMENTS: usize = 10;

/// Where the recordings and their strips are.
const FOLDER: &str = "docs/src/scenes";

/// The text of every source and page, by its path from the root of the repository.
type Files = BTreeMap<String, String>;

/// A recording, by the name of its file.
struct Scene {
    name: String,
    size: usize,
    data: Value,
}

// ---- the checks

/// A scene can be stepped through in a few minutes, and its strip is a picture and not a page.
fn is_short(scene: &Scene) -> Vec<String> {
    let mut faults = Vec::new();
    if scene.size > MOST_BYTES {
        faults.push(format!("{}: {} bytes are too much for a page", scene.name, scene.size));
    }
    for (run, data) in runs(scene) {
        let (steps, moments) = (list(data, "steps").len(), list(data, "moments"));
        if steps == 0 || steps > MOST_STEPS {
            faults.push(format!("{run}: {steps} steps"));
        }
        let places: Vec<_> =
            moments.iter().map(|moment| moment.as_u64().unwrap_or(u64::MAX)).collect();
        let in_order = places.is_sorted_by(|a, b| a < b);
        if !in_order || places.iter().any(|&place| place >= steps as u64) {
            faults.push(format!("{run}: its moments {places:?} are not steps in order"));
        }
        if places.is_empty() || places.len() > MOST_MOMENTS {
            faults.push(format!("{run}: {} moments are no strip", places.len()));
        }
    }
    faults
}

/// Every step has a caption, and not the one of the step before: a reader sees that something has happened.
fn has_captions(scene: &Scene) -> Vec<String> {
    let mut faults = Vec::new();
    for (run, data) in runs(scene) {
        let mut before = "";
        for (n, step) in list(data, "steps").iter().enumerate() {
            let caption = text(step, "caption");
            if caption.trim().is_empty() || caption == before {
                faults.push(format!("{run}: step {} has no caption of its own", n + 1));
            }
            before = caption;
        }
    }
    faults
}

/// The code beside a scene is the source of today, line by line, and each step stands in it.
fn shows_the_code_of_today(scene: &Scene, sources: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    for (run, data) in runs(scene) {
        let patched = match data.get("patch") {
            Some(Value::String(patch)) => patched(sources, patch),
            _ => Ok(sources.clone()),
        };
        match patched {
            Ok(sources) => faults.extend(code_differs(&run, data, &sources)),
            Err(error) => faults.push(format!("{run}: {error}")),
        }
    }
    faults
}

fn code_differs(run: &str, data: &Value, sources: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    let line = |file: &str, number: u64| -> Option<&str> {
        sources.get(file)?.lines().nth(usize::try_from(number).ok()?.checked_sub(1)?)
    };
    let mut shown = Vec::new();
    for block in list(data, "code") {
        let (file, first) = (text(block, "file"), number(block, "first"));
        for (number, said) in (first..).zip(list(block, "lines")) {
            shown.push((file, number));
            if line(file, number) != said.as_str() {
                faults.push(format!("{run}: {file}:{number} is not {said}; record it again"));
            }
        }
    }
    for (n, step) in list(data, "steps").iter().enumerate() {
        let Some(at) = step.get("at").filter(|at| !at.is_null()) else { continue };
        let (file, number, said) = (text(at, "file"), number(at, "line"), text(step, "code_text"));
        if line(file, number).map(str::trim) != Some(said) {
            faults.push(format!("{run}: step {}: {file}:{number} is not `{said}`", n + 1));
        }
        if !shown.contains(&(file, number)) {
            faults.push(format!("{run}: step {}: {file}:{number} is not shown", n + 1));
        }
    }
    faults
}

/// The sources with a patch applied.
fn patched(sources: &Files, patch: &str) -> Result<Files, String> {
    let mut sources = sources.clone();
    let text = sources.get(patch).ok_or(format!("there is no {patch}"))?.clone();
    let options = diffy::patch_set::ParseOptions::unidiff();
    for file in diffy::patch_set::PatchSet::parse(&text, options) {
        let file = file.map_err(|error| format!("{patch}: {error}"))?;
        let diffy::patch_set::FileOperation::Modify { modified, .. } = file.operation() else {
            return Err(format!("{patch} does more than to change files"));
        };
        let path = modified.strip_prefix("b/").unwrap_or(modified).to_owned();
        let before = sources.get(&path).ok_or(format!("{patch}: there is no {path}"))?;
        let change = file.patch().as_text().ok_or(format!("{patch} is not text"))?;
        let after =
            diffy::apply(before, change).map_err(|_| format!("{patch} does not fit {path}"))?;
        sources.insert(path, after);
    }
    Ok(sources)
}

/// Every scene is on a page, and every page names scenes that are there, with the strip that stands for them on paper.
fn are_on_pages(scenes: &[&str], files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    let shown: Vec<_> = pages(files).flat_map(|(page, text)| scenes_of(page, text)).collect();
    for Shown { page, names, strip } in &shown {
        for name in names.iter().filter(|name| !scenes.contains(&name.as_str())) {
            faults.push(format!("{page}: there is no scene {name}"));
        }
        let up = "../".repeat(page.matches('/').count() - PAGES.matches('/').count());
        // Several have the picture that is called as what their names begin with.
        let name = match &names[..] {
            [name] => name.as_str(),
            names => names[0].rsplit_once('-').map_or("", |(group, _)| group),
        };
        if *strip != format!("{up}scenes/{name}.svg") {
            faults.push(format!("{page}: the picture of {names:?} is not {up}scenes/{name}.svg"));
        }
    }
    let is_shown = |scene: &str| shown.iter().any(|shown| shown.names.iter().any(|n| n == scene));
    for scene in scenes.iter().filter(|scene| !is_shown(scene)) {
        faults.push(format!("{FOLDER}/{scene}.js: on no page"));
    }
    faults
}

/// What a page plays: one scene, or several on one clock.
struct Shown {
    page: String,
    names: Vec<String>,
    /// The picture that stands for it on paper.
    strip: String,
}

fn scenes_of(page: &str, text: &str) -> Vec<Shown> {
    let value = |text: &str| text.split('"').next().unwrap_or_default().to_owned();
    let places = text.split("data-scene=\"").skip(1).chain(text.split("data-scenes=\"").skip(1));
    let shown = |rest: &str| Shown {
        page: page.to_owned(),
        names: value(rest).split(' ').map(str::to_owned).collect(),
        strip: rest.split("src=\"").nth(1).map(value).unwrap_or_default(),
    };
    places.map(shown).collect()
}

// ---- what they are made of

/// What is recorded: the scene itself, and what happens with the fault.
fn runs(scene: &Scene) -> Vec<(String, &Value)> {
    let what_if = scene.data.get("what_if").filter(|what_if| !what_if.is_null());
    let what_if = what_if.map(|data| (format!("{}, what if", scene.name), data));
    [(scene.name.clone(), &scene.data)].into_iter().chain(what_if).collect()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

const PAGES: &str = "docs/src/";

fn pages(files: &Files) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| path.starts_with(PAGES) && path.ends_with(".md"))
}

/// The object in the call `scene({…});`.
fn object(script: &str) -> Value {
    let object = script.trim().strip_prefix("scene(").and_then(|text| text.strip_suffix(");"));
    serde_json::from_str(object.expect("a call of scene(…);")).expect("JSON")
}

/// Every recording of this checkout.
fn scenes() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for path in files_in(&root().join(FOLDER), &["js"]) {
        let script = fs::read_to_string(&path).expect("a scene");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let data = object(&script);
        assert_eq!(text(&data, "name"), name, "a scene is called as its file");
        scenes.push(Scene { name, size: script.len(), data });
    }
    scenes
}

/// The pages, the sources and the patches of this checkout.
fn repository() -> Files {
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("inside").to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(&path).expect("a text").replace("\r\n", "\n"))
    };
    files_in(&root(), &["rs", "md", "patch"]).into_iter().map(read).collect()
}

/// The sources of `step 4.3`, by the names that a scene of it has for them. A stage has its sources in the checkout.
fn sources_of_step(program: &str) -> Files {
    let Some(number) = program.strip_prefix("step ") else { return Files::new() };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(program);
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command.args(["step", number, "--again"]).arg(&folder).current_dir(root());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let named = |path: PathBuf| {
        let name = path.strip_prefix(&folder).expect("inside").to_string_lossy().replace('\\', "/");
        (format!("{program}/{name}"), fs::read_to_string(&path).expect("a text"))
    };
    files_in(&folder, &["rs"]).into_iter().map(named).collect()
}

/// The files of these kinds below a folder, without what is built or hidden.
fn files_in(folder: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && name != "target" && name != "book" && !name.starts_with('.') {
            files.extend(files_in(&path, kinds));
        } else if path.extension().is_some_and(|kind| kinds.iter().any(|k| kind == *k)) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    Path::new(&package).parent().expect("the workspace").to_owned()
}

#[track_caller]
fn assert_no_faults(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

// ---- the checkout

#[test]
fn a_scene_is_short_and_every_step_says_what_to_see() {
    for scene in scenes() {
        assert_no_faults(is_short(&scene));
        assert_no_faults(has_captions(&scene));
    }
}

#[test]
fn the_code_beside_a_scene_is_the_code_of_today() {
    let mut files = repository();
    for scene in scenes() {
        files.extend(sources_of_step(text(&scene.data, "program")));
        assert_no_faults(shows_the_code_of_today(&scene, &files));
    }
}

#[test]
fn every_scene_is_on_a_page_and_every_page_has_scenes_that_are_there() {
    let scenes = scenes();
    let names: Vec<_> = scenes.iter().map(|scene| scene.name.as_str()).collect();
    assert_no_faults(are_on_pages(&names, &repository()));
}

#[test]
fn the_strips_are_what_the_scenes_say() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    let output = command.args(["scenes", "--check"]).current_dir(root()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for strip in files_in(&root().join(FOLDER), &["svg"]) {
        let of = ["", "-1"].map(|number| strip.with_extension("").display().to_string() + number);
        let has_scene = of.iter().any(|scene| Path::new(&format!("{scene}.js")).exists());
        assert!(has_scene, "{} has no scene", strip.display());
    }
}

/// What a page runs is short enough to be read, asks no network for anything, and runs no text as code.
#[test]
fn the_player_is_short_and_needs_no_network() {
    const MOST_LINES: usize = 700;
    const BANNED: [&str; 9] = [
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "eval(",
        "Function(",
        "import",
        "//cdn",
        "http:",
        "https:",
    ];
    for path in files_in(&root().join("docs/scenes"), &["js", "css"]) {
        let text = fs::read_to_string(&path).expect("a script");
        // SVG's elements have an address that names them. It is not fetched.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(text.lines().count() < MOST_LINES, "{} is long", path.display());
        let banned = BANNED.iter().find(|word| text.contains(*word));
        assert!(banned.is_none(), "{}: {}", path.display(), banned.unwrap_or(&""));
        let long = text.lines().position(|line| line.chars().count() > 120);
        assert!(long.is_none(), "{}: line {} is long", path.display(), long.unwrap_or(0) + 1);
    }
}

// ---- the checks, each with a fault planted

/// A server of two lines, and a patch that forgets one of them.
const SOURCE: &str = "fn serve() {\n    accept();\n    read();\n}\n";
const PATCH: &str = "--- a/a/src/main.rs\n+++ b/a/src/main.rs\n@@ -1,4 +1,3 @@\n fn serve() {\n-    accept();\n     read();\n }\n";

/// A scene without a fault: A connects, the server accepts and reads. With the patch it only reads.
fn sample() -> Value {
    serde_json::json!({
        "name": "one", "moments": [0, 1, 2],
        "code": [{"file": "a/src/main.rs", "first": 1,
            "lines": ["fn serve() {", "    accept();", "    read();", "}"]}],
        "steps": [
            {"who": "A", "at": null, "caption": "A connects."},
            {"who": "server", "at": {"file": "a/src/main.rs", "line": 2}, "code_text": "accept();", "caption": "It is let in."},
            {"who": "server", "at": {"file": "a/src/main.rs", "line": 3}, "code_text": "read();", "caption": "It is read."},
        ],
        "what_if": {"title": "nothing is accepted", "patch": "docs/answers/a.patch", "moments": [0, 1, 2],
            "code": [{"file": "a/src/main.rs", "first": 1, "lines": ["fn serve() {", "    read();", "}"]}],
            "steps": [
                {"who": "A", "at": null, "caption": "A connects."},
                {"who": "server", "at": {"file": "a/src/main.rs", "line": 2}, "code_text": "read();", "caption": "It waits."},
                {"who": "A", "at": null, "caption": "A leaves."},
            ]},
    })
}

fn sources() -> Files {
    let page =
        "<div class=\"scene\" data-scene=\"one\"><img src=\"scenes/one.svg\" alt=\"a\"></div>\n";
    let files =
        [("a/src/main.rs", SOURCE), ("docs/answers/a.patch", PATCH), ("docs/src/a.md", page)];
    files.map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

/// The sample with one value changed. A path as `/steps/0/caption`.
fn sample_with(path: &str, value: impl Into<Value>) -> Scene {
    let mut data = sample();
    *data.pointer_mut(path).expect("it is in the sample") = value.into();
    Scene { name: "one".to_owned(), size: 1000, data }
}

#[track_caller]
fn check(faults: Vec<String>, says: &str) {
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(says), "{faults:?}");
}

#[test]
fn a_scene_without_a_fault_passes_every_check() {
    let scene = sample_with("/name", "one");
    assert_no_faults(is_short(&scene));
    assert_no_faults(has_captions(&scene));
    assert_no_faults(shows_the_code_of_today(&scene, &sources()));
    assert_no_faults(are_on_pages(&["one"], &sources()));
}

#[test]
fn a_scene_that_is_too_long_is_found() {
    let scene = Scene { size: MOST_BYTES + 1, ..sample_with("/name", "one") };
    check(is_short(&scene), "bytes");
    let step = sample()["steps"][0].clone();
    check(is_short(&sample_with("/steps", vec![step; MOST_STEPS + 1])), "61 steps");
    check(is_short(&sample_with("/moments", Vec::<u64>::new())), "0 moments");
    check(is_short(&sample_with("/what_if/moments", vec![0, 2, 1])), "what if");
    check(is_short(&sample_with("/moments", vec![0, 1, 3])), "not steps");
}

#[test]
fn a_step_without_a_caption_of_its_own_is_found() {
    check(has_captions(&sample_with("/steps/1/caption", " ")), "step 2");
    check(has_captions(&sample_with("/what_if/steps/1/caption", "A connects.")), "what if: step 2");
}

#[test]
fn code_that_has_changed_since_the_recording_is_found() {
    let changed =
        |path: &str, value: &str| shows_the_code_of_today(&sample_with(path, value), &sources());
    check(changed("/code/0/lines/2", "    write();"), "main.rs:3");
    check(changed("/steps/2/code_text", "write();"), "step 3");
    check(changed("/what_if/code/0/lines/1", "    accept();"), "what if: a/src/main.rs:2");
    check(changed("/what_if/patch", "docs/answers/b.patch"), "no docs/answers/b.patch");
    let mut moved = sources();
    moved.insert("a/src/main.rs".to_owned(), format!("//! One more line.\n{SOURCE}"));
    assert!(!shows_the_code_of_today(&sample_with("/name", "one"), &moved).is_empty());
}

#[test]
fn a_step_outside_the_code_that_is_shown_is_found() {
    let scene = sample_with("/code/0/lines", vec!["fn serve() {", "    accept();"]);
    check(shows_the_code_of_today(&scene, &sources()), "main.rs:3 is not shown");
}

#[test]
fn a_scene_on_no_page_and_a_page_without_its_scene_are_found() {
    check(are_on_pages(&["one", "two"], &sources()), "two.js: on no page");
    check(are_on_pages(&[], &sources()), "a.md: there is no scene one");
    let mut below = sources();
    let page = below.remove("docs/src/a.md").expect("a page");
    below.insert("docs/src/steps/1.md".to_owned(), page.clone());
    check(are_on_pages(&["one"], &below), "not ../scenes/one.svg");
}

#[test]
fn several_scenes_without_their_picture_are_found() {
    let mut several = sources();
    let mut show = |names: &str, picture: &str| {
        let page = sources()["docs/src/a.md"]
            .replace("data-scene=\"one\"", &format!("data-scenes=\"{names}\""))
            .replace("scenes/one.svg", picture);
        several.insert("docs/src/a.md".to_owned(), page);
        are_on_pages(&["one-1", "one-2"], &several)
    };
    assert_no_faults(show("one-1 one-2", "scenes/one.svg"));
    check(show("one-1 one-2", "scenes/one-1.svg"), "not scenes/one.svg");
    check(show("one-1 one-2 one-3", "scenes/one.svg"), "no scene one-3");
}
