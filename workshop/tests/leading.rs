//! The script in `leading.md` can be played as it stands: each command starts, and each line that the page shows
//! appears on its terminal.
#![cfg(target_os = "linux")]

mod screen;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::testkit::server::terminal;
use common::testkit::{pass, skipped};
use common::watchdog::Watchdog;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use screen::Screen;

/// How long a line of the page may be in coming. It is reached only if the line does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How late what a program has written may be seen when it has ended, where others have its terminal too.
const LATE: Duration = Duration::from_secs(2);

/// How long "nothing" lasts. A server that is right is never slower for it, and never wrong.
const NOTHING: Duration = Duration::from_millis(300);

/// How long the flood lasts here. On the page it lasts longer: a person has to type meanwhile.
const FLOOD: &str = "--seconds 2";

#[test]
fn the_script_can_be_played_as_the_page_says() {
    if let Some(missing) = STAGES.iter().find(|stage| !binary(stage).exists()) {
        return skipped(&format!("{missing} is not built: cargo test --workspace builds it"));
    }
    let page = fs::read_to_string(page()).expect("the page");
    let scenes = scenes(&page).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(scenes.len() >= 7, "the script has {} scenes", scenes.len());
    for scene in &scenes {
        assert!(scene.steps.iter().any(|step| step.sign == '$'), "{}: no command", scene.title);
        assert!(scene.steps.iter().any(Step::is_shown), "{}: shows nothing", scene.title);
        let start = Instant::now();
        let played = Room::default().play(scene);
        played.unwrap_or_else(|fault| panic!("{}: {fault}", scene.title));
        eprintln!("{:4.1} s  {}", start.elapsed().as_secs_f64(), scene.title);
    }
}

const STAGES: [&str; 6] = [
    "stage1-blocking",
    "stage2-threads",
    "stage3-nonblocking-busy",
    "stage4-epoll",
    "stage5-mio",
    "stage6-timers",
];

/// The binaries of the workspace lie side by side.
fn binary(package: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_workshop")).with_file_name(package)
}

fn page() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    Path::new(&package).with_file_name("docs").join("src/leading.md")
}

// ---- what the page says

struct Scene {
    title: String,
    steps: Vec<Step>,
}

/// One line of a console block: the number of a terminal, a sign, and a text.
///
/// | sign | what it means |
/// | --- | --- |
/// | `$` | a command is started there |
/// | `>` | a line is typed there, or a key is pressed: `Ctrl-C`, `Ctrl-D`, `Ctrl-Z` |
/// | `\|` | it shows this line, in which `…` stands for anything; a time in front is any time |
/// | `~` | it shows this line, except for the figures, which are other figures each time |
struct Step {
    line: usize,
    terminal: char,
    sign: char,
    text: String,
}

impl Step {
    fn is_shown(&self) -> bool {
        matches!(self.sign, '|' | '~')
    }
}

/// The scenes of the page, with the steps in their console blocks.
fn scenes(page: &str) -> Result<Vec<Scene>, String> {
    let mut scenes: Vec<Scene> = Vec::new();
    let (mut in_scene, mut in_block) = (false, false);
    for (i, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            in_block = in_scene && line == "```console";
        } else if in_block {
            let step =
                step(i + 1, line).ok_or_else(|| format!("line {}: no step: {line}", i + 1))?;
            scenes.last_mut().ok_or("a step before the first scene")?.steps.push(step);
        } else if line.starts_with('#') {
            in_scene = line.starts_with("### Scene ");
            if in_scene {
                scenes.push(Scene { title: line.to_owned(), steps: Vec::new() });
            }
        }
    }
    Ok(scenes)
}

fn step(number: usize, line: &str) -> Option<Step> {
    let mut chars = line.chars();
    let terminal = chars.next().filter(char::is_ascii_digit)?;
    let sign = chars.next().filter(|sign| "$>|~".contains(*sign))?;
    let text = chars.as_str().trim().to_owned();
    (!text.is_empty()).then_some(Step { line: number, terminal, sign, text })
}

/// Whether a terminal shows what the page says.
fn shows(step: &Step, actual: &str) -> bool {
    let simplify = |text: &str| {
        let text = without_time(text.split_whitespace().collect::<Vec<_>>().join(" "));
        if step.sign == '~' { without_figures(&text) } else { text }
    };
    matches(&simplify(&step.text), &simplify(actual))
}

/// `0.3 s hello` becomes `T hello`.
fn without_time(text: String) -> String {
    match text.split_once(" s ") {
        Some((time, rest)) if time.contains('.') && time.parse::<f64>().is_ok() => {
            format!("T {rest}")
        }
        _ => text,
    }
}

/// `took 69.9µs for 1,024 bytes` becomes `took # for # bytes`, and so does `took 2ms for 4.16M bytes`. A dash that stands alone is no figure yet.
fn without_figures(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        out.push('#');
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        // 1,024 and 69.9 and 127.0.0.1:9000 are one figure each.
        while let Some(more) = rest.strip_prefix([',', '.', ':'])
            && more.starts_with(|c: char| c.is_ascii_digit())
        {
            rest = more.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let unit = ["ns", "µs", "ms", "s", "K", "M", "G"].into_iter().find(|unit| {
            rest.strip_prefix(unit).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        rest = &rest[unit.map_or(0, str::len)..];
    }
    out.push_str(rest);
    out.split(' ').map(|word| if word == "-" { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

/// `…` stands for any characters, and for none.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('…') else { return pattern == text };
    let Some(text) = text.strip_prefix(begin) else { return false };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().any(|at| matches(rest, &text[at..]))
}

// ---- playing it

/// The terminals of a scene, and where its server listens.
#[derive(Default)]
struct Room {
    terminals: BTreeMap<char, Terminal>,
    port: Option<String>,
}

impl Room {
    fn play(&mut self, scene: &Scene) -> Result<(), String> {
        for step in &scene.steps {
            self.step(step).map_err(|why| {
                let Step { line, terminal, sign, text } = step;
                let seen = self.terminals.get(terminal).map(Terminal::text).unwrap_or_default();
                format!("line {line}: {terminal}{sign} {text}\n{why}; the terminal shows:\n{seen}")
            })?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        if step.sign == '$' {
            return self.start(step.terminal, &step.text);
        }
        let port = self.port.clone().unwrap_or_default();
        let terminal = self.terminals.get_mut(&step.terminal).ok_or("nothing runs there")?;
        if terminal.is_skipped() {
            return Ok(());
        }
        match (step.sign, step.text.as_str()) {
            ('>', keys) => terminal.type_in(keys),
            (_, "(nothing)") => terminal.shows_nothing(),
            (_, text) => self.wait_for(&Step { text: text.replace("9000", &port), ..*step }),
        }
    }

    /// A person is slower than we are. What `ps` or `ss` shows may have to come about first, so we look again.
    fn wait_for(&mut self, step: &Step) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let terminal = self.terminals.get_mut(&step.terminal).ok_or("nothing runs there")?;
            match terminal.wait_for(step) {
                Err(_) if terminal.looks_once() && start.elapsed() < PATIENCE => {
                    let line = terminal.line.clone();
                    self.start(step.terminal, &line)?;
                }
                shown => return shown,
            }
        }
    }

    fn start(&mut self, terminal: char, line: &str) -> Result<(), String> {
        self.terminals.remove(&terminal);
        let command = self.command(line)?;
        let is_server = line.starts_with("cargo run") && line.contains("-p stage");
        let mut started = Terminal::start(command, line)?;
        if is_server {
            self.port = Some(started.port()?);
        }
        self.terminals.insert(terminal, started);
        Ok(())
    }

    /// What the page's command is here: a binary that is built already, and the server's own port.
    fn command(&self, line: &str) -> Result<Command, String> {
        let line = if line.contains("--flood") { with_short_flood(line) } else { line.to_owned() };
        let line = self.with_pids(line)?;
        let Some(rest) = line.strip_prefix("cargo run -q -p ") else { return Ok(self.tool(&line)) };
        let (package, args) = rest.split_once(" -- ").unwrap_or((rest, ""));
        if let Some(args) = args.strip_prefix("live ") {
            return Ok(picture(args));
        }
        let mut command = Command::new(binary(package));
        command.args(args.split_whitespace()).env("NO_COLOR", "1");
        command.arg(match self.port.as_ref().filter(|_| package == "workshop") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => "127.0.0.1:0".to_owned(),
        });
        Ok(command)
    }

    /// `strace`, `ps` and so on.
    fn tool(&self, line: &str) -> Command {
        let line = line.replace("9000", self.port.as_deref().unwrap_or("9000"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("stty cols 130 rows 40; exec {line}")]).env("LC_ALL", "C");
        command
    }

    /// Each looks at our server, and at no other by the same name.
    fn with_pids(&self, mut line: String) -> Result<String, String> {
        while let Some((before, rest)) = line.split_once("$(pidof ") {
            let (name, after) = rest.split_once(')').ok_or("no end of $(pidof")?;
            let server = self.terminals.values().find(|terminal| program(&terminal.line) == name);
            let server = server.ok_or_else(|| format!("{name} does not run"))?;
            line = format!("{before}{}{after}", server.child.id());
        }
        Ok(line)
    }
}

/// `live`, on a terminal with a size. What it starts is built already.
fn picture(args: &str) -> Command {
    let mut command = Command::new("sh");
    let build = if args.contains("--attach") { "" } else { "--no-build" };
    let script = format!("stty cols 120 rows 36; exec \"$0\" live {build} {args}");
    command.args(["-c", &script]).arg(binary("workshop")).env("TERM", "xterm");
    command
}

/// What a command line runs.
fn program(line: &str) -> &str {
    let rest = line.strip_prefix("cargo run -q -p ").unwrap_or(line);
    rest.split(' ').next().unwrap_or_default()
}

fn with_short_flood(line: &str) -> String {
    let (before, rest) = line.split_once("--seconds ").unwrap_or((line, ""));
    format!("{before}{FLOOD} {}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// A program on a terminal of its own, as a person sees it.
struct Terminal {
    child: Child,
    _watchdog: Watchdog,
    /// The command line that was started here.
    line: String,
    keyboard: File,
    written: Arc<Mutex<Vec<u8>>>,
    /// Ends when it has read all that the program wrote, and the program has closed the terminal.
    reader: thread::JoinHandle<()>,
    /// How many lines the page has shown already.
    shown: usize,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Terminal {
    fn start(mut command: Command, line: &str) -> Result<Self, String> {
        let (person, screen) = terminal().ok_or("no terminal")?;
        let copy = || screen.try_clone().map_err(|e| e.to_string());
        command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
        let started = Watchdog::spawn(&mut command);
        let (child, watchdog) = started.map_err(|e| format!("does not start: {e}"))?;
        let mut reader = person.try_clone().map_err(|e| e.to_string())?;
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let seen = Arc::clone(&written);
        let reader = thread::spawn(move || {
            let mut buf = [0; 4096];
            // The last program has closed the terminal: EIO.
            while let Ok(n @ 1..) = reader.read(&mut buf) {
                seen.lock().expect("text").extend(&buf[..n]);
            }
        });
        let line = line.to_owned();
        Ok(Self { child, _watchdog: watchdog, line, keyboard: person, written, reader, shown: 0 })
    }

    fn text(&self) -> String {
        let written = self.written.lock().expect("text");
        let text = String::from_utf8_lossy(&written);
        if self.is_picture() {
            let screen = Screen::after(&text);
            if screen.is_alternate {
                return screen.rows().join("\n") + "\n";
            }
        }
        text.replace('\r', "")
    }

    /// Whether it shows the same lines again and again, with other figures.
    fn is_picture(&self) -> bool {
        self.line.contains("workshop -- live ")
    }

    /// Whether this machine has no such program, or does not let it look.
    fn is_skipped(&self) -> bool {
        let text = self.text();
        let why =
            ["not found", "Operation not permitted"].into_iter().find(|why| text.contains(why));
        if let Some(why) = why {
            skipped(&format!("{}: {why}", self.line));
        }
        why.is_some()
    }

    /// Whether this is a program that looks, shows, and ends.
    fn looks_once(&self) -> bool {
        ["ps", "ss"].contains(&program(&self.line))
    }

    /// The port of the server that has been started here.
    fn port(&mut self) -> Result<String, String> {
        let line =
            Step {
                line: 0, terminal: '1', sign: '|', text: "listening on 127.0.0.1:…".to_owned()
            };
        self.wait_for(&line)?;
        self.shown = 0;
        let text = self.text();
        let port = text.lines().find_map(|line| line.strip_prefix("listening on 127.0.0.1:"));
        port.map(str::to_owned).ok_or_else(|| "no port".to_owned())
    }

    fn type_in(&mut self, keys: &str) -> Result<(), String> {
        let typed = match keys {
            // The program does not belong to this terminal, so the keys themselves send no signal.
            "Ctrl-C" => return self.signal(interrupt()),
            "Ctrl-Z" => return self.signal(Signal::SIGSTOP),
            "fg" => return self.signal(Signal::SIGCONT),
            "Ctrl-D" => "\x04".to_owned(),
            line => match line.strip_suffix(" Ctrl-D") {
                Some(half) => format!("{half}\x04"),
                None => format!("{line}\n"),
            },
        };
        self.keyboard.write_all(typed.as_bytes()).map_err(|e| e.to_string())
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).map_err(|e| e.to_string())
    }

    fn wait_for(&mut self, step: &Step) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let has_ended = self.child.try_wait().is_ok_and(|ended| ended.is_some());
            let is_all = has_ended && self.reader.is_finished();
            let text = self.text();
            // A line that has not ended may become another one.
            let whole = |line: &str| line.ends_with('\n') || step.text.ends_with('…');
            let found = text
                .split_inclusive('\n')
                .skip(self.shown)
                .position(|line| whole(line) && shows(step, line));
            if let Some(at) = found {
                self.shown += if self.is_picture() { 0 } else { at + 1 };
                return Ok(());
            }
            if self.is_skipped() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE || is_all || (has_ended && start.elapsed() > LATE) {
                return Err("the line does not come".to_owned());
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Nothing more than the page has shown.
    fn shows_nothing(&self) -> Result<(), String> {
        pass(NOTHING);
        match self.text().lines().nth(self.shown) {
            Some(line) => Err(format!("it shows {line:?}")),
            None => Ok(()),
        }
    }
}

/// What ends a program that we have started. A shell makes the programs in its background ignore SIGINT, and theirs
/// inherit that: signal(7). If we are one of those, the other signal has to do.
fn interrupt() -> Signal {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let sigint = 1 << (Signal::SIGINT as u32 - 1);
    if ignored.is_some_and(|mask| mask & sigint != 0) { Signal::SIGTERM } else { Signal::SIGINT }
}

// ---- the client of the script

/// What `serve` does with its one client, in a room that knows where it listens.
fn room_with(serve: impl FnOnce(TcpStream) + Send + 'static) -> (Room, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("cannot listen");
    let port = listener.local_addr().expect("an address").port().to_string();
    let server = thread::spawn(move || serve(listener.accept().expect("a client comes").0));
    (Room { port: Some(port), ..Room::default() }, server)
}

fn echo(mut client: TcpStream) {
    let mut reader = client.try_clone().expect("clone");
    let _ = io::copy(&mut reader, &mut client);
}

#[test]
fn a_person_sees_the_time_of_each_line_and_sends_half_a_line_with_ctrl_d() {
    let (mut room, server) = room_with(echo);
    let played = room.play(&scene(
        "\
2$ cargo run -q -p workshop -- talk
2|   0.0 s  connected to 127.0.0.1:9000, from 127.0.0.1:…
2> hello
2|   0.0 s  sending 6 bytes
2|   0.0 s  hello
2> half Ctrl-D
2|   0.0 s  sending 4 bytes, not the end of a line
2|   0.0 s  half…
2> Ctrl-D
2|   0.0 s  the server has closed the connection",
    ));
    played.unwrap_or_else(|fault| panic!("{fault}"));
    server.join().expect("the server has done its part");
}

#[test]
fn half_a_line_goes_out_in_two_parts_and_a_pipe_has_the_bytes_and_no_others() {
    let (room, server) = room_with(|mut client| {
        let mut buf = [0; 64];
        for part in ["half a li", "ne\n"] {
            let n = client.read(&mut buf).expect("the client sends");
            assert_eq!(&buf[..n], part.as_bytes());
            client.write_all(part.as_bytes()).expect("the client reads");
        }
        let _ = client.read(&mut buf); // until it leaves
    });
    let mut command = room
        .command("cargo run -q -p workshop -- talk --half-line --seconds 1")
        .expect("a command");
    let output = command.output().expect("the tool");
    let reports = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "half a line\n", "{reports}");
    assert!(reports.contains("time is over, leaving"), "{reports}");
    server.join().expect("the server has done its part");
}

/// The queues on the way back have room for 3 MiB. With more, stage 4 cuts the flood off and the scene is over.
#[test]
fn a_flood_has_no_more_on_its_way_than_the_way_back_can_hold() {
    let (room, server) = room_with(|mut client| {
        let taken = io::copy(&mut client, &mut io::sink());
        assert_eq!(taken.expect("the client leaves"), 3 * 1024 * 1024);
    });
    let command = room.command("cargo run -q -p workshop -- talk --flood --seconds 1");
    let output = command.expect("a command").output().expect("the tool");
    assert!(output.status.success());
    server.join().expect("the server takes no more");
}

// ---- that the player sees what is wrong

/// A page with one scene.
fn scene(steps: &str) -> Scene {
    let page = format!("# Page\n\n### Scene 1\n\nText.\n\n```console\n{steps}\n```\n");
    scenes(&page).expect("a scene").remove(0)
}

#[track_caller]
fn check_fault(steps: &str, says: &str) {
    let fault = Room::default().play(&scene(steps)).expect_err("it plays");
    assert!(fault.contains(says), "{fault}");
}

#[test]
fn a_line_that_does_not_come_is_named_with_its_place_on_the_page() {
    check_fault("4$ echo one two\n4| one three", "line 9: 4| one three\nthe line does not come");
    check_fault("4$ echo one\n4| (nothing)", "line 9: 4| (nothing)\nit shows \"one\"");
    check_fault("4| one", "line 8: 4| one\nnothing runs there");
}

#[test]
fn a_command_that_is_refused_is_named() {
    let refused = "1$ cargo run -q -p workshop -- peer --no-such-option\n1| listening on …";
    check_fault(refused, "unexpected argument '--no-such-option'");
    check_fault("4$ ps -p $(pidof stage4-epoll)", "stage4-epoll does not run");
}

#[test]
fn a_program_that_this_machine_does_not_have_is_skipped() {
    let played = Room::default().play(&scene("4$ no-such-program -x\n4| a line"));
    assert_eq!(played, Ok(()));
}

#[test]
fn what_is_no_step_is_found() {
    let page = "### Scene 1\n\n```console\n$ ps\n```\n";
    assert_eq!(scenes(page).err().as_deref(), Some("line 4: no step: $ ps"));
}

#[track_caller]
fn check_shows(step: &str, actual: &str, expected: bool) {
    let step = self::step(1, step).expect("a step");
    assert_eq!(shows(&step, actual), expected, "{}{} and {actual}", step.sign, step.text);
}

#[test]
fn times_always_vary_and_figures_only_where_the_page_says_so() {
    check_shows("2|   1.0 s  hello", "  13.5 s  hello", true);
    check_shows("2|   1.0 s  hello", "hello", false);
    check_shows("2| from 127.0.0.1:…", "from 127.0.0.1:40007", true);
    check_shows("2| sent 6 bytes", "sent 7 bytes", false);
    check_shows("2~ sent 6 bytes, 7", "sent 1,234 bytes, 0", true);
    check_shows("2~ sent 6 bytes", "sent 1,234 bits", false);
    check_shows("4~ waits … 940K 15", "waits █▌ 1.10M 61.4K", true);
    check_shows("1~   0   17   9.2ms", "   12 3    -", true);
    check_shows("1~   0   17   1.0s", "   12 3    412.7µs", true);
    check_shows("4~ f(3, …, [4]) = -1 EAGAIN", "f(9, 0x7fff1, [128]) = -1 EAGAIN", true);
}
